#ifndef SAMPLED_SOFTMAX_TENSORFLOW_SAMPLE_H
#define SAMPLED_SOFTMAX_TENSORFLOW_SAMPLE_H

// Drawing: the number of the next draw, and the draw.

#include <map>
#include <random>
#include <utility>

#include "../native/handle.h"
#include "absl/strings/numbers.h"
#include "engine.h"

namespace sampled_softmax_tf {

using sampled_softmax_native::Config;
using sampled_softmax_native::Handle;
using sampled_softmax_native::HandleSlot;
using sampled_softmax_native::Unigrams;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;

// Attributes are signed; seeds, ranks and steps are their bits read as unsigned.
inline absl::Status GetUnsigned(OpKernelConstruction* context, const char* name, uint64_t* value) {
  int64_t bits = 0;
  TF_RETURN_IF_ERROR(context->GetAttr(name, &bits));
  *value = static_cast<uint64_t>(bits);
  return absl::OkStatus();
}

inline absl::Status GetDecimal(OpKernelConstruction* context, const char* name, double* value) {
  std::string text;
  TF_RETURN_IF_ERROR(context->GetAttr(name, &text));
  if (absl::SimpleAtod(text, value)) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string(name) + " = '" + text + "' is not a number");
}

inline uint32_t LabelsDtype(const Tensor& labels) {
  return labels.dtype() == tensorflow::DT_INT32 ? SSL_LABELS_INT32 : SSL_LABELS_INT64;
}

inline uint32_t CountsDtype(const Tensor& counts) {
  return counts.dtype() == tensorflow::DT_DOUBLE ? SSL_DTYPE_FLOAT64 : SSL_DTYPE_FLOAT32;
}

inline uint64_t NextStep(uint64_t seed, uint64_t rank, bool entropy) {
  static auto* mutex = new std::mutex;
  static auto* steps = new std::map<std::tuple<uint64_t, uint64_t, bool>, uint64_t>;
  std::lock_guard<std::mutex> lock(*mutex);
  auto entry = steps->emplace(std::make_tuple(seed, rank, entropy), 0);
  if (entry.second && entropy) {
    std::random_device random;
    entry.first->second = static_cast<uint64_t>(random()) << 32 | random();
  }
  return entry.first->second++;
}

class NextStepKernel : public OpKernel {
 public:
  explicit NextStepKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, GetUnsigned(context, "seed", &seed_));
    OP_REQUIRES_OK(context, GetUnsigned(context, "rank", &rank_));
    OP_REQUIRES_OK(context, context->GetAttr("entropy", &entropy_));
  }

  void Compute(OpKernelContext* context) override {
    Tensor* step = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({}), &step));
    step->scalar<int64_t>()() = static_cast<int64_t>(NextStep(seed_, rank_, entropy_));
  }

 private:
  uint64_t seed_ = 0;
  uint64_t rank_ = 0;
  bool entropy_ = false;
};

inline uint32_t SamplerCode(const std::string& name) {
  if (name == "uniform") return SSL_SAMPLER_UNIFORM;
  if (name == "log_uniform") return SSL_SAMPLER_LOG_UNIFORM;
  if (name == "fixed_unigram") return SSL_SAMPLER_FIXED_UNIGRAM;
  if (name == "learned_unigram") return SSL_SAMPLER_LEARNED_UNIGRAM;
  return SSL_SAMPLER_ALL;
}

inline absl::Status GetUnigrams(OpKernelConstruction* context, std::shared_ptr<const Unigrams>* unigrams) {
  Unigrams made;
  std::string weights;  // the bytes of float64 weights
  int64_t num_shards = 1, shard = 0;
  TF_RETURN_IF_ERROR(context->GetAttr("unigrams", &weights));
  TF_RETURN_IF_ERROR(context->GetAttr("vocab_file", &made.vocab_file));
  TF_RETURN_IF_ERROR(GetDecimal(context, "distortion", &made.distortion));
  TF_RETURN_IF_ERROR(context->GetAttr("num_reserved_ids", &made.num_reserved_ids));
  TF_RETURN_IF_ERROR(context->GetAttr("num_shards", &num_shards));
  TF_RETURN_IF_ERROR(context->GetAttr("shard", &shard));
  made.weights.resize(weights.size() / sizeof(double));
  if (!made.weights.empty()) memcpy(made.weights.data(), weights.data(), made.weights.size() * sizeof(double));
  made.num_shards = static_cast<uint32_t>(num_shards);
  made.shard = static_cast<uint32_t>(shard);
  *unigrams = std::make_shared<const Unigrams>(std::move(made));
  return absl::OkStatus();
}

template <typename Engine>
class SampleKernel : public OpKernel {
 public:
  explicit SampleKernel(OpKernelConstruction* context) : OpKernel(context) {
    std::string sampler;
    bool unique = true, exact = false, exclude = false;
    config_.backend = Engine::kBackend;
    // Drawing is the work of one thread.
    config_.num_threads = 1;
    OP_REQUIRES_OK(context, context->GetAttr("sampler", &sampler));
    OP_REQUIRES_OK(context, context->GetAttr("unique", &unique));
    OP_REQUIRES_OK(context, context->GetAttr("exact_counts", &exact));
    OP_REQUIRES_OK(context, context->GetAttr("exclude_labels", &exclude));
    OP_REQUIRES_OK(context, context->GetAttr("num_sampled", &config_.num_sampled));
    OP_REQUIRES_OK(context, context->GetAttr("num_classes", &config_.num_classes));
    OP_REQUIRES_OK(context, GetUnsigned(context, "seed", &config_.seed));
    OP_REQUIRES_OK(context, GetUnsigned(context, "rank", &config_.rank));
    OP_REQUIRES_OK(context, context->GetAttr("has_ignore_index", &has_ignore_index_));
    OP_REQUIRES_OK(context, context->GetAttr("ignore_index", &ignore_index_));
    OP_REQUIRES_OK(context, context->GetAttr("labels_name", &labels_name_));
    config_.sampler = SamplerCode(sampler);
    if (config_.sampler == SSL_SAMPLER_FIXED_UNIGRAM) OP_REQUIRES_OK(context, GetUnigrams(context, &config_.unigrams));
    config_.sampling = unique ? SSL_SAMPLING_UNIQUE : SSL_SAMPLING_REPLACEMENT;
    config_.counts = exact ? SSL_COUNTS_EXACT : SSL_COUNTS_TF;
    config_.hits = exclude ? SSL_HITS_EXCLUDE : SSL_HITS_KEEP;
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& labels = context->input(0);
    const Tensor& step = context->input(1);
    OP_REQUIRES(context, labels.dims() == 2,
                absl::InvalidArgumentError(labels_name_ + " has shape " + labels.shape().DebugString() +
                                           "; [N, num_true] is needed"));
    OP_REQUIRES(context, step.dims() == 0,
                absl::InvalidArgumentError("step has shape " + step.shape().DebugString() + "; a scalar is needed"));
    Tensor *ids = nullptr, *true_counts = nullptr, *sampled_counts = nullptr;
    TensorShape sampled({config_.num_sampled});
    OP_REQUIRES_OK(context, context->allocate_output(0, sampled, &ids));
    OP_REQUIRES_OK(context, context->allocate_output(1, labels.shape(), &true_counts));
    OP_REQUIRES_OK(context, context->allocate_output(2, sampled, &sampled_counts));

    ssl_batch batch;
    SSL_INIT(batch);
    batch.num_rows = labels.dim_size(0);
    batch.labels = Data(labels);
    batch.labels_dtype = LabelsDtype(labels);
    batch.has_ignore_index = has_ignore_index_;
    batch.ignore_index = ignore_index_;
    ssl_candidates candidates;
    SSL_INIT(candidates);
    candidates.source = SSL_CANDIDATES_DRAW;
    candidates.counts_dtype = CountsDtype(*true_counts);
    candidates.step = static_cast<uint64_t>(step.scalar<int64_t>()());
    candidates.ids = static_cast<int64_t*>(Data(*ids));
    candidates.sampled_expected_count = Data(*sampled_counts);
    candidates.true_expected_count = Data(*true_counts);

    Config config = config_;
    config.num_true = labels.dim_size(1);
    config.device = Engine::Device(context);
    std::shared_ptr<Handle> handle;
    OP_REQUIRES_OK(context, CheckBound());
    OP_REQUIRES_OK(context, ToStatus(slot_.Get(config, &handle)));
    OP_REQUIRES_OK(context, ToStatus(Functions().sample(handle->get(), &batch, &candidates, Engine::Stream(context)),
                                     labels_name_));
  }

 private:
  Config config_;
  bool has_ignore_index_ = false;
  int64_t ignore_index_ = 0;
  std::string labels_name_;
  HandleSlot slot_;
};

}  // namespace sampled_softmax_tf

#endif
