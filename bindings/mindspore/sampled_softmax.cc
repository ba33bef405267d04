// Sampled softmax as MindSpore's AOT custom operators, on the CPU.
//
// An operator is a function of pointers, shapes and names of types, inputs first, then
// outputs. MindSpore has attributes only through C++ objects of its own, so what would be
// attributes comes as an int64 tensor, `settings`, and this file needs no header of
// MindSpore's. What is thrown here MindSpore reports as RuntimeError with its message.

#include <stdint.h>
#include <string.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "../native/handle.h"
#include "../native/library.h"
#include "../native/workspace.h"

namespace sampled_softmax_mindspore __attribute__((visibility("hidden"))) {

using sampled_softmax_native::Config;
using sampled_softmax_native::Functions;
using sampled_softmax_native::Handle;
using sampled_softmax_native::Workspace;

// The elements of `settings`; mindspore/_custom.py fills them in this order.
enum Setting {
  kNumClasses, kNumSampled, kSampler, kUnique, kExcludeLabels, kSeed, kRank,
  kRemoveHits, kReduction, kFloorBits, kHasIgnoreIndex, kIgnoreIndex, kHasBiases, kNumThreads,
  kNumSettings
};

void Check(ssl_status status) {
  if (status == SSL_STATUS_OK) return;
  throw std::runtime_error(sampled_softmax_native::LastMessage() + " [status " + std::to_string(status) + "]");
}

// The arguments of one operator.
struct Arguments {
  void** params;
  int* ndims;
  int64_t** shapes;
  const char** dtypes;

  int64_t Count(int i) const {
    int64_t count = 1;
    for (int axis = 0; axis < ndims[i]; ++axis) count *= shapes[i][axis];
    return count;
  }
  // NULL where there are no elements, whatever MindSpore passes for them.
  void* Data(int i) const { return Count(i) == 0 ? nullptr : params[i]; }
  bool Is(int i, const char* dtype) const { return strcmp(dtypes[i], dtype) == 0; }
  uint32_t Float(int i) const {
    if (Is(i, "float16")) return SSL_DTYPE_FLOAT16;
    if (Is(i, "bfloat16")) return SSL_DTYPE_BFLOAT16;
    return Is(i, "float64") ? SSL_DTYPE_FLOAT64 : SSL_DTYPE_FLOAT32;
  }
  uint32_t Labels(int i) const { return Is(i, "int32") ? SSL_LABELS_INT32 : SSL_LABELS_INT64; }
};

const int64_t* Settings(const Arguments& arguments, int i) {
  if (Functions().create == nullptr) throw std::runtime_error("import sampled_softmax.mindspore first");
  if (arguments.Count(i) != kNumSettings) throw std::runtime_error("settings has the wrong length");
  return static_cast<const int64_t*>(arguments.params[i]);
}

std::shared_ptr<Handle> HandleOf(const Config& config) {
  std::shared_ptr<Handle> handle;
  Check(sampled_softmax_native::FindHandle(config, &handle));
  return handle;
}

Config LossConfig(const int64_t* settings, int64_t num_true) {
  Config config;
  config.num_classes = settings[kNumClasses];
  config.num_sampled = settings[kNumSampled];
  config.num_true = num_true;
  config.hits = settings[kRemoveHits] ? SSL_HITS_MASK : SSL_HITS_KEEP;
  config.reduction = static_cast<uint32_t>(settings[kReduction]);
  memcpy(&config.probability_floor, &settings[kFloorBits], sizeof config.probability_floor);
  config.num_threads = static_cast<uint32_t>(settings[kNumThreads]);
  return config;
}

void Need(bool holds, const Arguments& arguments, int i, const char* name, const std::string& wanted) {
  if (holds) return;
  std::string shape;
  for (int axis = 0; axis < arguments.ndims[i]; ++axis) {
    shape += (axis ? ", " : "") + std::to_string(arguments.shapes[i][axis]);
  }
  throw std::runtime_error(std::string(name) + " has shape (" + shape + "); " + wanted + " is needed");
}

void FillCandidates(const Arguments& arguments, int i, ssl_candidates* candidates) {
  candidates->ids = static_cast<int64_t*>(arguments.Data(i));
  candidates->true_expected_count = arguments.Data(i + 1);
  candidates->counts_dtype = arguments.Float(i + 1);
  candidates->sampled_expected_count = arguments.Data(i + 2);
}

// Shapes that were not known when MindSpore compiled; what is known then Python checks.
void CheckShapes(const Arguments& arguments, int i, int candidates, const int64_t* settings) {
  const int* ndims = arguments.ndims + i;
  int64_t** shapes = arguments.shapes + i;
  Need(ndims[0] == 2 && shapes[0][1] >= 1, arguments, i, "logits", "[N, d]");
  std::string classes = std::to_string(settings[kNumClasses]), dim = std::to_string(shapes[0][1]);
  Need(ndims[1] == 2 && shapes[1][0] == settings[kNumClasses] && shapes[1][1] == shapes[0][1], arguments, i + 1,
       "weights", "[" + classes + ", " + dim + "]");
  Need(!settings[kHasBiases] || arguments.Count(i + 2) == settings[kNumClasses], arguments, i + 2, "biases",
       "[" + classes + "]");
  Need(ndims[3] == 2 && shapes[3][0] == shapes[0][0] && shapes[3][1] >= 1, arguments, i + 3, "labels",
       "[" + std::to_string(shapes[0][0]) + ", num_true]");
  Need(arguments.Count(candidates) == settings[kNumSampled], arguments, candidates, "sampled_candidates",
       "[num_sampled]");
  Need(arguments.Count(candidates + 1) == arguments.Count(i + 3), arguments, candidates + 1, "true_expected_count",
       "that of labels");
  Need(arguments.Count(candidates + 2) == settings[kNumSampled], arguments, candidates + 2, "sampled_expected_count",
       "[num_sampled]");
}

// The tensors of a loss: inputs, weights, biases and labels from argument `i` on; ids, true
// and sampled expected counts from argument `candidates` on.
void FillBatch(const Arguments& arguments, int i, int candidates_at, const int64_t* settings, ssl_batch* batch,
               ssl_candidates* candidates) {
  CheckShapes(arguments, i, candidates_at, settings);
  batch->num_rows = arguments.shapes[i][0];
  batch->dim = arguments.shapes[i][1];
  batch->inputs = arguments.Data(i);
  batch->inputs_dtype = arguments.Float(i);
  batch->weights = arguments.Data(i + 1);
  batch->weights_dtype = arguments.Float(i + 1);
  if (settings[kHasBiases]) {
    batch->biases = arguments.Data(i + 2);
    batch->biases_dtype = arguments.Float(i + 2);
  }
  batch->labels = arguments.Data(i + 3);
  batch->labels_dtype = arguments.Labels(i + 3);
  batch->has_ignore_index = settings[kHasIgnoreIndex] != 0;
  batch->ignore_index = settings[kIgnoreIndex];
  FillCandidates(arguments, candidates_at, candidates);
  candidates->source = SSL_CANDIDATES_GIVEN;
}

// Draws for the labels of argument `labels` into those from argument `drawn` on.
void Draw(const Arguments& arguments, int labels, int step, int drawn, const int64_t* settings) {
  Need(arguments.ndims[labels] == 2 && arguments.shapes[labels][1] >= 1, arguments, labels, "labels",
       "[N, num_true]");
  Config config;
  config.num_classes = settings[kNumClasses];
  config.num_sampled = settings[kNumSampled];
  config.num_true = arguments.shapes[labels][1];
  config.sampler = static_cast<uint32_t>(settings[kSampler]);
  config.sampling = settings[kUnique] ? SSL_SAMPLING_UNIQUE : SSL_SAMPLING_REPLACEMENT;
  config.hits = settings[kExcludeLabels] ? SSL_HITS_EXCLUDE : SSL_HITS_KEEP;
  config.seed = static_cast<uint64_t>(settings[kSeed]);
  config.rank = static_cast<uint64_t>(settings[kRank]);
  // Drawing is the work of one thread.
  config.num_threads = 1;
  ssl_batch batch;
  SSL_INIT(batch);
  batch.num_rows = arguments.shapes[labels][0];
  batch.labels = arguments.Data(labels);
  batch.labels_dtype = arguments.Labels(labels);
  batch.has_ignore_index = settings[kHasIgnoreIndex] != 0;
  batch.ignore_index = settings[kIgnoreIndex];
  ssl_candidates candidates;
  SSL_INIT(candidates);
  candidates.source = SSL_CANDIDATES_DRAW;
  candidates.step = static_cast<uint64_t>(*static_cast<const int64_t*>(arguments.params[step]));
  FillCandidates(arguments, drawn, &candidates);
  Check(Functions().sample(HandleOf(config)->get(), &batch, &candidates, nullptr));
}

// The loss into arguments `loss_at` and the one behind it.
void Evaluate(const Arguments& arguments, int candidates_at, int loss_at, const int64_t* settings) {
  ssl_batch batch;
  SSL_INIT(batch);
  ssl_candidates candidates;
  SSL_INIT(candidates);
  FillBatch(arguments, 0, candidates_at, settings, &batch, &candidates);
  ssl_loss loss;
  SSL_INIT(loss);
  loss.loss = arguments.Data(loss_at);
  loss.log_sum_exp = static_cast<double*>(arguments.Data(loss_at + 1));
  std::shared_ptr<Handle> handle = HandleOf(LossConfig(settings, arguments.shapes[3][1]));
  size_t size = 0;
  Check(Functions().workspace_size(handle->get(), &batch, &size, nullptr));
  Workspace workspace;
  workspace.Take(size);
  Check(Functions().forward(handle->get(), &batch, &candidates, &loss, workspace.data(), workspace.size(), nullptr));
}

// labels, step, settings -> ids, true_expected_count, sampled_expected_count
void Sample(const Arguments& arguments) { Draw(arguments, 0, 1, 3, Settings(arguments, 2)); }

// inputs, weights, biases, labels, ids, true_expected_count, sampled_expected_count,
// settings -> loss, log_sum_exp
void Forward(const Arguments& arguments) { Evaluate(arguments, 4, 8, Settings(arguments, 7)); }

// inputs, weights, biases, labels, step, settings -> loss, log_sum_exp, ids,
// true_expected_count, sampled_expected_count. One operator, so that labels out of range
// are one error: PYNATIVE_MODE goes on to the next operator after one that failed.
void DrawForward(const Arguments& arguments) {
  const int64_t* settings = Settings(arguments, 5);
  Draw(arguments, 3, 4, 8, settings);
  Evaluate(arguments, 8, 6, settings);
}

// grad_output, the eight that Forward takes, log_sum_exp -> d_inputs, d_weights, d_biases
void Backward(const Arguments& arguments) {
  const int64_t* settings = Settings(arguments, 8);
  ssl_batch batch;
  SSL_INIT(batch);
  ssl_candidates candidates;
  SSL_INIT(candidates);
  FillBatch(arguments, 1, 5, settings, &batch, &candidates);
  ssl_loss loss;
  SSL_INIT(loss);
  loss.log_sum_exp = static_cast<double*>(arguments.Data(9));
  ssl_gradients gradients;
  SSL_INIT(gradients);
  // Dense, because the shape of an operator's output must be known before it runs.
  gradients.layout = SSL_GRADIENTS_DENSE;
  gradients.grad_output = arguments.Data(0);
  gradients.d_inputs = arguments.Data(10);
  gradients.d_inputs_dtype = arguments.Float(10);
  gradients.d_weights = arguments.Data(11);
  gradients.d_weights_dtype = arguments.Float(11);
  size_t element = arguments.Is(11, "float64") ? 8 : arguments.Is(11, "float32") ? 4 : 2;
  memset(gradients.d_weights, 0, arguments.Count(11) * element);
  element = arguments.Is(12, "float64") ? 8 : arguments.Is(12, "float32") ? 4 : 2;
  memset(arguments.params[12], 0, arguments.Count(12) * element);
  if (settings[kHasBiases]) {
    gradients.d_biases = arguments.Data(12);
    gradients.d_biases_dtype = arguments.Float(12);
  }
  std::shared_ptr<Handle> handle = HandleOf(LossConfig(settings, arguments.shapes[4][1]));
  size_t size = 0;
  Check(Functions().workspace_size(handle->get(), &batch, nullptr, &size));
  Workspace workspace;
  workspace.Take(size);
  Check(Functions().backward(handle->get(), &batch, &candidates, &loss, &gradients, workspace.data(),
                             workspace.size(), nullptr));
}

int Run(void (*op)(const Arguments&), int wanted, int num_params, void** params, int* ndims, int64_t** shapes,
        const char** dtypes) {
  if (num_params != wanted) throw std::runtime_error("wrong number of arguments");
  op(Arguments{params, ndims, shapes, dtypes});
  return 0;
}

}  // namespace sampled_softmax_mindspore

#define SAMPLED_SOFTMAX_OP(name, num_params)                                                                     \
  extern "C" __attribute__((visibility("default"))) int SampledSoftmax##name(                                    \
      int count, void** params, int* ndims, int64_t** shapes, const char** dtypes, void* /* stream */,           \
      void* /* extra */) {                                                                                       \
    return sampled_softmax_mindspore::Run(sampled_softmax_mindspore::name, num_params, count, params, ndims,     \
                                          shapes, dtypes);                                                       \
  }

SAMPLED_SOFTMAX_OP(Sample, 6)
SAMPLED_SOFTMAX_OP(Forward, 10)
SAMPLED_SOFTMAX_OP(DrawForward, 11)
SAMPLED_SOFTMAX_OP(Backward, 13)
