/* The C++ binding: ownership, exceptions, the workspace, and the same numbers by every
 * way of calling. Prints what does not hold, and fails if anything does not. */

#include "sampled_softmax.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace ss = sampled_softmax;

static_assert(!std::is_copy_constructible_v<ss::Handle> && !std::is_copy_assignable_v<ss::Handle>);
static_assert(std::is_nothrow_move_constructible_v<ss::Handle>);
static_assert(std::is_nothrow_move_assignable_v<ss::Handle>);
static_assert(!std::is_copy_constructible_v<ss::Workspace>);
static_assert(std::is_nothrow_move_constructible_v<ss::Workspace>);
static_assert(std::is_base_of_v<std::runtime_error, ss::Error>);
static_assert(std::is_trivially_copyable_v<ss::Config> && std::is_standard_layout_v<ss::Config>);

static int failures = 0;

static void expect(bool holds, const char *what, int line) {
    if (holds) return;
    std::printf("binding.cpp:%d: does not hold: %s\n", line, what);
    failures++;
}
#define EXPECT(...) expect((__VA_ARGS__), #__VA_ARGS__, __LINE__)

/* The status that `call` throws, and whether its message names what it should. */
template <class Call>
static void expect_error(ssl_status status, const char *words, int line, Call call) {
    try {
        call();
        expect(false, words, line);
    } catch (const ss::Error &error) {
        if (error.status() != status || !std::strstr(error.what(), words))
            std::printf("got %d: %s\n", int{error.status()}, error.what());
        expect(error.status() == status, words, line);
        expect(std::strstr(error.what(), words) != nullptr, words, line);
    }
}
#define EXPECT_ERROR(status, words, ...) \
    expect_error(status, words, __LINE__, [&] { __VA_ARGS__; })

static ss::Config small_config() {
    ss::Config config;
    config.num_classes = 40;
    config.num_sampled = 8;
    config.sampler = SSL_SAMPLER_LOG_UNIFORM;
    config.reduction = SSL_REDUCTION_SUM;
    config.seed = 3;
    config.num_threads = 2;
    return config;
}

/* One batch of 5 rows with d = 3, and room for whatever comes out of it. */
struct Problem {
    static constexpr int kRows = 5, kDim = 3, kClasses = 40, kSampled = 8;
    static constexpr int kGradientRows = kRows + kSampled;

    std::vector<float> inputs = wave(kRows * kDim, 0.7f);
    std::vector<float> weights = wave(kClasses * kDim, 1.3f);
    std::vector<float> biases = wave(kClasses, 2.1f);
    std::vector<std::int64_t> labels = {0, 5, 39, 5, 11};
    std::vector<std::int64_t> ids = std::vector<std::int64_t>(kSampled, -7);
    std::vector<float> sampled_count = std::vector<float>(kSampled);
    std::vector<float> true_count = std::vector<float>(kRows);
    float loss_value = -1.0f;
    std::vector<double> log_sum_exp = std::vector<double>(kRows);
    std::vector<float> d_inputs = std::vector<float>(kRows * kDim);
    std::vector<float> d_weights = std::vector<float>(kGradientRows * kDim);
    std::vector<float> d_biases = std::vector<float>(kGradientRows);
    std::vector<std::int64_t> row_ids = std::vector<std::int64_t>(kGradientRows);
    std::int64_t num_rows = -1;

    ss::Batch batch;
    ss::Candidates candidates;
    ss::Loss loss;
    ss::Gradients gradients;

    Problem() {
        batch.num_rows = kRows;
        batch.dim = kDim;
        batch.inputs = inputs.data();
        batch.weights = weights.data();
        batch.biases = biases.data();
        batch.labels = labels.data();
        candidates.ids = ids.data();
        candidates.sampled_expected_count = sampled_count.data();
        candidates.true_expected_count = true_count.data();
        loss.loss = &loss_value;
        loss.log_sum_exp = log_sum_exp.data();
        gradients.d_inputs = d_inputs.data();
        gradients.d_weights = d_weights.data();
        gradients.d_biases = d_biases.data();
        gradients.row_ids = row_ids.data();
        gradients.num_rows = &num_rows;
        gradients.row_capacity = kGradientRows;
    }
    Problem(const Problem &) = delete; // its structs point into it

    static std::vector<float> wave(int count, float frequency) {
        std::vector<float> values(static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < values.size(); i++) values[i] = std::sin(frequency * float(i));
        return values;
    }
};

static void structs_begin_at_their_defaults() {
    ss::Gradients gradients;
    ssl_gradients expected;
    SSL_INIT(expected);
    const ssl_gradients &actual = gradients;
    EXPECT(std::memcmp(&actual, &expected, sizeof expected) == 0);
    EXPECT(ss::Config().struct_size == sizeof(ssl_config));
    EXPECT(ss::Batch().struct_size == sizeof(ssl_batch));
    EXPECT(ss::Candidates().struct_size == sizeof(ssl_candidates));
    EXPECT(ss::Loss().struct_size == sizeof(ssl_loss));
    EXPECT(ss::Update().struct_size == sizeof(ssl_update));
}

static void one_call_equals_two() {
    Problem two, one, raw;
    ss::Handle handle(small_config());
    ss::Workspace workspace;
    handle.forward(two.batch, two.candidates, two.loss, workspace);
    handle.backward(two.batch, two.candidates, two.loss, two.gradients, workspace);
    handle.forward_backward(one.batch, one.candidates, one.loss, one.gradients, workspace);

    std::vector<char> memory(handle.workspace_size(raw.batch).backward);
    handle.forward(raw.batch, raw.candidates, raw.loss, memory.data(), memory.size());
    handle.backward(raw.batch, raw.candidates, raw.loss, raw.gradients, memory.data(),
                    memory.size(), nullptr);

    EXPECT(std::isfinite(two.loss_value) && two.loss_value > 0.0f);
    EXPECT(std::fabs(one.loss_value - two.loss_value) < 1e-5f * two.loss_value);
    EXPECT(raw.loss_value == two.loss_value && raw.d_weights == two.d_weights);
    EXPECT(one.ids == two.ids && one.row_ids == two.row_ids && one.num_rows == two.num_rows);
    EXPECT(two.num_rows > Problem::kSampled && two.num_rows <= Problem::kGradientRows);
    float largest = 0.0f, difference = 0.0f;
    for (std::size_t i = 0; i < one.d_inputs.size(); i++) {
        largest = std::fmax(largest, std::fabs(two.d_inputs[i]));
        difference = std::fmax(difference, std::fabs(one.d_inputs[i] - two.d_inputs[i]));
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(two.num_rows) * Problem::kDim; i++)
        difference = std::fmax(difference, std::fabs(one.d_weights[i] - two.d_weights[i]));
    EXPECT(largest > 0.01f && difference < 1e-5f);
}

static void an_update_is_a_step_against_the_gradient() {
    Problem sparse, updated;
    ss::Handle handle(small_config());
    ss::Workspace workspace;
    handle.forward_backward(sparse.batch, sparse.candidates, sparse.loss, sparse.gradients, workspace);
    ss::Update update;
    update.learning_rate = 0.5;
    update.weights = updated.weights.data();
    update.biases = updated.biases.data();
    updated.gradients.layout = SSL_GRADIENTS_UPDATE;
    updated.gradients.d_weights = updated.gradients.d_biases = nullptr;
    updated.gradients.update = &update;
    handle.forward_backward(updated.batch, updated.candidates, updated.loss, updated.gradients, workspace);
    EXPECT(updated.d_inputs == sparse.d_inputs && updated.row_ids == sparse.row_ids);
    for (std::size_t row = 0; row < static_cast<std::size_t>(sparse.num_rows); row++) {
        const auto cls = static_cast<std::size_t>(sparse.row_ids[row]);
        sparse.biases[cls] -= 0.5f * sparse.d_biases[row];
        for (std::size_t k = 0; k < Problem::kDim; k++)
            sparse.weights[cls * Problem::kDim + k] -= 0.5f * sparse.d_weights[row * Problem::kDim + k];
    }
    float difference = 0.0f;
    for (std::size_t i = 0; i < sparse.weights.size(); i++)
        difference = std::fmax(difference, std::fabs(updated.weights[i] - sparse.weights[i]));
    for (std::size_t i = 0; i < sparse.biases.size(); i++)
        difference = std::fmax(difference, std::fabs(updated.biases[i] - sparse.biases[i]));
    EXPECT(difference < 1e-6f);
}

static void sampling_alone_draws_what_forward_draws() {
    Problem drawn, used, without_labels;
    ss::Handle handle(small_config());
    ss::Workspace workspace;
    handle.sample(drawn.batch, drawn.candidates);
    handle.forward(used.batch, used.candidates, used.loss, workspace);
    handle.sample(without_labels.candidates);
    EXPECT(drawn.ids == used.ids && without_labels.ids == used.ids);
    EXPECT(drawn.true_count == used.true_count && drawn.sampled_count == used.sampled_count);
    for (std::size_t j = 1; j < drawn.ids.size(); j++) EXPECT(drawn.ids[j - 1] < drawn.ids[j]);
    EXPECT(drawn.ids.front() >= 0 && drawn.ids.back() < Problem::kClasses);
}

static void moving_hands_over_the_handle() {
    Problem problem;
    ss::Workspace workspace;
    ss::Handle first(small_config());
    ssl_handle *const raw = first.get();
    ss::Handle second(std::move(first));
    EXPECT(first.get() == nullptr && second.get() == raw);
    EXPECT_ERROR(SSL_STATUS_NULL_POINTER, "handle is NULL",
                 first.forward(problem.batch, problem.candidates, problem.loss, workspace));

    ss::Handle third(small_config());
    third = std::move(second); // frees what it had
    EXPECT(third.get() == raw && second.get() == nullptr);
    third.forward(problem.batch, problem.candidates, problem.loss, workspace);
    first = std::move(third); // a handle that was moved from can be filled again
    first.forward(problem.batch, problem.candidates, problem.loss, workspace);
}

static void failures_carry_status_and_message() {
    Problem problem;
    ss::Workspace workspace;
    ss::Config too_many = small_config();
    too_many.num_sampled = 41;
    EXPECT_ERROR(SSL_STATUS_INVALID_VALUE, "ssl_create: num_sampled = 41",
                 ss::Handle{too_many});

    ss::Handle handle(small_config());
    problem.labels[3] = 71;
    EXPECT_ERROR(SSL_STATUS_LABEL_RANGE, "labels[3] = 71 is outside [0, 40)",
                 handle.forward(problem.batch, problem.candidates, problem.loss, workspace));
    EXPECT(problem.loss_value == -1.0f && problem.ids[0] == -7);
    EXPECT(ss::last_error() == "labels[3] = 71 is outside [0, 40)");
    problem.labels[3] = 5;
    EXPECT_ERROR(SSL_STATUS_WORKSPACE, "ssl_forward: workspace: need",
                 handle.forward(problem.batch, problem.candidates, problem.loss, nullptr, 0));
    EXPECT(!ss::backend_available(9999) && ss::backend_available(SSL_BACKEND_CPU));
    EXPECT(ss::version() >> 16 == SSL_ABI_VERSION_MAJOR);

    std::string elsewhere = "not yet asked";
    std::thread([&] { elsewhere = ss::last_error(); }).join();
    EXPECT(elsewhere.empty());
}

static void workspace_grows_and_never_shrinks() {
    Problem problem;
    ss::Handle handle(small_config());
    const ss::WorkspaceSize need = handle.workspace_size(problem.batch);
    ss::Workspace workspace;
    EXPECT(workspace.size() == 0);
    handle.forward(problem.batch, problem.candidates, problem.loss, workspace);
    EXPECT(workspace.size() >= need.forward);
    handle.backward(problem.batch, problem.candidates, problem.loss, problem.gradients, workspace);
    EXPECT(workspace.size() >= need.backward);

    const std::size_t size = workspace.size();
    void *const data = workspace.data();
    workspace.reserve(1);
    problem.batch.num_rows = 2;
    handle.forward(problem.batch, problem.candidates, problem.loss, workspace);
    EXPECT(workspace.size() == size && workspace.data() == data);

    ss::Workspace moved(std::move(workspace));
    EXPECT(moved.data() == data && workspace.size() == 0 && workspace.data() == nullptr);
    workspace = std::move(moved);
    workspace.reserve(size + 1);
    EXPECT(workspace.size() == size + 1 && moved.data() == nullptr);
}

int main() {
    structs_begin_at_their_defaults();
    one_call_equals_two();
    an_update_is_a_step_against_the_gradient();
    sampling_alone_draws_what_forward_draws();
    moving_hands_over_the_handle();
    failures_carry_status_and_message();
    workspace_grows_and_never_shrinks();
    return failures == 0 ? 0 : 1;
}
