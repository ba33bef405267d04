/* Trains a next-token model with 20,000 tokens: where to start from C++.
 *
 *     c++ -std=c++17 -O2 -Iinclude -Ibindings/cpp examples/cpp/train.cpp \
 *         -Ltarget/release -lsampled_softmax -o train && LD_LIBRARY_PATH=target/release ./train
 *
 * The smallest model with something on both sides of the loss: a token is looked up in
 * an embedding, which is the hidden vector, and an output layer scores all tokens that may
 * come next. Forward and backward are two calls, as in an engine with automatic
 * differentiation: between them comes the gradient of whatever follows the loss, and after
 * them d_inputs goes down into the network, here the embedding.
 *
 * Tokens are sampled by how often they occur. The last line shows the full softmax over all
 * tokens, on text not trained on.
 */

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <vector>

#include "sampled_softmax.hpp"

namespace ss = sampled_softmax;

namespace {

constexpr int kTokens = 20000, kDim = 64, kRows = 512, kSampled = 512;
// Room for every token that can take part in a step: the sampled ones and the labels.
constexpr int kGradientRows = kSampled + kRows;
constexpr int kSteps = 800, kReport = 200;
constexpr float kLearningRate = 0.2f;

/* Text without an end: after each token comes one of four, with chances 1/2, 1/4, 1/8 and
 * 1/8, hence an entropy of 1.21 nats, below which no model of it gets. */
class Text {
  public:
    explicit Text(unsigned seed) : random_(seed) {}

    std::int64_t next() {
        constexpr int kBranch[8] = {0, 0, 0, 0, 1, 1, 2, 3};
        std::minstd_rand successor(static_cast<unsigned>(4 * token_ + kBranch[random_() % 8] + 1));
        successor.discard(8); // its first numbers are nearly proportional to the seed
        const double uniform = successor() / (successor.max() + 1.0);
        // Squared: some tokens are frequent, and all occur.
        return token_ = static_cast<std::int64_t>(kTokens * uniform * uniform);
    }

  private:
    std::mt19937_64 random_;
    std::int64_t token_ = 0;
};

/* A matrix [kTokens, columns], trained by Adagrad with one step size a row. */
class Parameters {
  public:
    Parameters(int columns, float scale)
        : columns_(columns), values_(std::size_t{kTokens} * columns), squares_(kTokens, 1e-8f) {
        std::mt19937 random(7);
        std::uniform_real_distribution<float> uniform(-scale, scale);
        for (float &value : values_) value = uniform(random);
    }

    const float *row(std::int64_t index) const { return &values_[index * columns_]; }

    void descend(std::int64_t index, const float *gradient) {
        const float square = std::inner_product(gradient, gradient + columns_, gradient, 0.0f);
        squares_[index] += square / columns_;
        const float rate = kLearningRate / std::sqrt(squares_[index]);
        for (int i = 0; i < columns_; i++) values_[index * columns_ + i] -= rate * gradient[i];
    }

  private:
    int columns_;
    std::vector<float> values_, squares_;
};

struct Model {
    Parameters embedding{kDim, 0.1f}, weights{kDim, 0.1f}, biases{1, 0.0f};
};

/* A loss on a model, with the buffers of its calls, which are ours: made once. */
class NextToken {
  public:
    NextToken(const Model &model, const ss::Config &config)
        : model_(model), handle_(config), ids_(config.num_sampled), sampled_count_(ids_.size()) {
        batch_.num_rows = kRows;
        batch_.dim = kDim;
        batch_.inputs = hidden_.data();
        batch_.weights = model.weights.row(0);
        batch_.biases = model.biases.row(0);
        batch_.labels = tokens_.data() + 1; // what follows each token
        candidates_.ids = ids_.data();
        candidates_.sampled_expected_count = sampled_count_.data();
        candidates_.true_expected_count = true_count_.data();
        loss_.loss = losses_.data();
        loss_.log_sum_exp = log_sum_exp_.data();
        gradients_.grad_output = grad_output_.data();
        gradients_.d_inputs = d_hidden_.data();
        gradients_.d_weights = d_weights_.data();
        gradients_.d_biases = d_biases_.data();
        gradients_.row_ids = row_ids_.data();
        gradients_.num_rows = &num_rows_;
        gradients_.row_capacity = kGradientRows;
    }

    /* The mean loss of the next kRows tokens. */
    double forward(Text &text, std::uint64_t step) {
        tokens_.front() = tokens_.back();
        std::generate(tokens_.begin() + 1, tokens_.end(), [&] { return text.next(); });
        for (int n = 0; n < kRows; n++)
            std::copy_n(model_.embedding.row(tokens_[n]), kDim, &hidden_[n * kDim]);
        candidates_.step = step; // with config.seed, this decides which tokens are drawn
        handle_.forward(batch_, candidates_, loss_, workspace_);
        return std::accumulate(losses_.begin(), losses_.end(), 0.0) / kRows;
    }

    /* The gradients of the last forward, and a step of `model` down along them. */
    void backward(Model &model) {
        handle_.backward(batch_, candidates_, loss_, gradients_, workspace_);
        for (int r = 0; r < num_rows_; r++) {
            model.weights.descend(row_ids_[r], &d_weights_[r * kDim]);
            model.biases.descend(row_ids_[r], &d_biases_[r]);
        }
        for (int n = 0; n < kRows; n++) model.embedding.descend(tokens_[n], &d_hidden_[n * kDim]);
    }

  private:
    using Floats = std::vector<float>;
    using Ids = std::vector<std::int64_t>;
    const Model &model_;
    ss::Handle handle_;
    ss::Workspace workspace_; // grows in the first forward and the first backward
    ss::Batch batch_;         // these begin with every field at its default
    ss::Candidates candidates_;
    ss::Loss loss_;
    ss::Gradients gradients_;
    Ids ids_, tokens_ = Ids(kRows + 1), row_ids_ = Ids(kGradientRows);
    Floats sampled_count_, true_count_ = Floats(kRows), hidden_ = Floats(kRows * kDim);
    Floats losses_ = Floats(kRows), grad_output_ = Floats(kRows, 1.0f / kRows); // of their mean
    Floats d_hidden_ = Floats(kRows * kDim), d_weights_ = Floats(kGradientRows * kDim);
    Floats d_biases_ = Floats(kGradientRows);
    std::vector<double> log_sum_exp_ = std::vector<double>(kRows);
    std::int64_t num_rows_ = 0;
};

/* The loss over all tokens, with the sampler that takes every one once. */
double full_softmax_loss(const Model &model) {
    ss::Config config;
    config.num_classes = config.num_sampled = kTokens;
    config.sampler = SSL_SAMPLER_ALL;
    Text held_out(2);
    return NextToken(model, config).forward(held_out, 0);
}

void train() {
    // From 1, so that no label can meet an expected count of 0.
    std::vector<double> counts(kTokens, 1.0);
    Text text_to_count(3);
    for (int i = 0; i < 200000; i++) counts[text_to_count.next()] += 1.0;

    ss::Config config;
    config.num_classes = kTokens;
    config.num_sampled = kSampled;
    config.sampler = SSL_SAMPLER_FIXED_UNIGRAM;
    config.unigrams = counts.data(); // copied by the handle
    config.num_unigrams = kTokens;
    config.seed = 1;

    Model model;
    NextToken next_token(model, config);
    Text text(1);
    double before = full_softmax_loss(model), sum = 0.0;
    for (int step = 1; step <= kSteps; step++) {
        sum += next_token.forward(text, step);
        next_token.backward(model);
        if (step % kReport != 0) continue;
        std::printf("step %4d  sampled loss %.4f\n", step, sum / kReport);
        sum = 0.0;
    }
    // Higher than the sampled loss: among all tokens there are more to be mistaken for.
    std::printf("full softmax, held out: %.4f -> %.4f\n", before, full_softmax_loss(model));
}

} // namespace

int main() {
    try {
        train();
        return 0;
    } catch (const ss::Error &error) {
        std::fprintf(stderr, "status %d: %s\n", int{error.status()}, error.what());
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
    }
    return 1;
}
