// XLA FFI handlers of the sampled softmax, for JAX.
//
//   sampled_softmax_{sample,sample_on_device,forward,backward,forward_backward}_{cpu,cuda}
//   sampled_softmax_learn_cpu
//
// are thin: they name the buffers, find the handle by value, and call the function of
// the same name of libsampled_softmax, whose header says what it does. The order of
// arguments and results stands at each handler; `sampled_softmax/jax/_operations.py`
// is the caller.
//
// The CUDA handlers queue work on XLA's stream, allocate nothing and wait for nothing,
// and may be recorded into command buffers. `sample` is the exception: the host draws
// there, and reads the step back from the device. `sample_on_device` is for samplers that
// draw where they are, and differs in nothing else.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "../native/workspace.h"
#include "buffers.h"
#include "driver.h"
#include "frame.h"
#include "handles.h"

namespace sampled_softmax::jax {
namespace {

// What the three functions of the loss share. Arguments 0 to 7 are the operands.
class Call {
 public:
  Call(const Frame& frame, const AnyBuffer& workspace)
      : handle(frame.handle()),
        operands{frame.arg(0), frame.arg(1), frame.arg(2), frame.arg(3),
                 frame.arg(4), frame.arg(5), frame.arg(6), frame.arg(7)},
        batch(operands.batch(frame.num_classes(), frame.num_true(), frame.has_ignore_index != 0, frame.ignore_index)),
        candidates(operands.candidates(frame.num_sampled(), frame.num_true())) {
    if (!frame.reduced()) loss_shape_ = {batch.num_rows};
    SSL_INIT(loss);
    if (frame.place.backend == SSL_BACKEND_CPU) {
      size_t forward = 0, backward = 0;
      check(Functions().workspace_size(handle->get(), &batch, &forward, &backward));
      host_workspace_.Take(std::max(forward, backward));
      workspace_ = host_workspace_.data();
      workspace_size_ = host_workspace_.size();
    } else {
      workspace_ = data_of(workspace);
      workspace_size_ = workspace.size_bytes();
    }
  }

  void set_loss(const AnyBuffer& value) {
    expect_shape("loss", value, loss_shape_);
    expect_type("loss", value, {operands.loss_type()});
    loss.loss = data_of(value);
  }

  void set_log_sum_exp(const AnyBuffer& words) {
    loss.log_sum_exp = words_of<double>("log_sum_exp", words, {batch.num_rows});
  }

  // NULL, which the library takes for ones, only where there is no row to have one.
  const void* upstream(const AnyBuffer& grad_output) const {
    expect_shape("grad_output", grad_output, loss_shape_);
    expect_type("grad_output", grad_output, {operands.loss_type()});
    return data_of(grad_output);
  }

  void* workspace() const { return workspace_; }
  size_t workspace_size() const { return workspace_size_; }

  const std::shared_ptr<Handle> handle;
  const Operands operands;
  const ssl_batch batch;
  const ssl_candidates candidates;
  ssl_loss loss;

 private:
  std::vector<int64_t> loss_shape_;
  // Of the adapters' own, since XLA would map and unmap it with every call; on a GPU,
  // where XLA keeps its memory, it is a buffer of XLA's.
  sampled_softmax_native::Workspace host_workspace_;
  void* workspace_;
  size_t workspace_size_;
};

// The gradients of a call: three arguments from `first_arg` on (grad_output, then rooms
// of zeros for the gradients of weights and biases) and five results from `first_ret`.
//
// Sparse gradients have row ids. Dense ones are added into the rooms, which the results
// must alias; so are sparse ones on a GPU, where nobody else could clear the rows
// behind the last.
class Gradients {
 public:
  Gradients(const Frame& frame, const Call& call, size_t first_arg, size_t first_ret)
      : d_inputs_(frame.ret(first_ret)),
        d_weights_(frame.ret(first_ret + 1)),
        d_biases_(frame.ret(first_ret + 2)),
        on_host_(frame.place.backend == SSL_BACKEND_CPU) {
    const AnyBuffer row_ids = frame.ret(first_ret + 3), num_rows = frame.ret(first_ret + 4);
    expect_rank("row_ids", row_ids, 2);
    const bool sparse = size_of(row_ids, 0) != 0;
    const int64_t rows = sparse ? size_of(row_ids, 0) : frame.num_classes();
    if (d_inputs_.element_count() != 0) expect_shape("d_inputs", d_inputs_, {call.batch.num_rows, call.batch.dim});
    if (d_weights_.element_count() != 0) expect_shape("d_weights", d_weights_, {rows, call.batch.dim});
    if (d_biases_.element_count() != 0) expect_shape("d_biases", d_biases_, {rows});
    if (!sparse || !on_host_) {
      expect_alias("d_weights", d_weights_, frame.arg(first_arg + 1));
      expect_alias("d_biases", d_biases_, frame.arg(first_arg + 2));
    }
    SSL_INIT(fields);
    fields.layout = sparse ? SSL_GRADIENTS_SPARSE : SSL_GRADIENTS_DENSE;
    fields.grad_output = call.upstream(frame.arg(first_arg));
    fields.d_inputs = data_of(d_inputs_);
    fields.d_inputs_dtype = float_type("d_inputs", d_inputs_);
    fields.d_weights = data_of(d_weights_);
    fields.d_weights_dtype = float_type("d_weights", d_weights_);
    fields.d_biases = data_of(d_biases_);
    fields.d_biases_dtype = float_type("d_biases", d_biases_);
    if (sparse) {
      fields.row_ids = words_of<int64_t>("row_ids", row_ids, {rows});
      fields.num_rows = words_of<int64_t>("num_rows", num_rows, {1});
      fields.row_capacity = rows;
    }
  }

  // What the library leaves untouched.
  void clear_behind_last() const {
    if (!on_host_ || fields.num_rows == nullptr) return;
    for (const AnyBuffer& buffer : {d_weights_, d_biases_}) {
      if (buffer.element_count() == 0) continue;
      const size_t row = buffer.size_bytes() / static_cast<size_t>(fields.row_capacity);
      const size_t used = row * static_cast<size_t>(*fields.num_rows);
      std::memset(static_cast<std::byte*>(buffer.untyped_data()) + used, 0, buffer.size_bytes() - used);
    }
  }

  ssl_gradients fields;

 private:
  static void expect_alias(const char* name, const AnyBuffer& result, const AnyBuffer& room) {
    if (result.element_count() == 0 || result.untyped_data() == room.untyped_data()) return;
    throw Refused(xla::ffi::ErrorCode::kInternal, std::string(name) + " does not alias its operand of zeros");
  }

  const AnyBuffer d_inputs_, d_weights_, d_biases_;
  const bool on_host_;
};

// The draw that arguments 0 (labels [N, T]) and 1 (step [2] words) ask for, into results
// 0 to 2: ids [S, 2] words, expected counts [N, T] and [S].
void draw(const Frame& frame, ssl_handle* handle, int64_t* learned_counts) {
  const AnyBuffer labels = frame.arg(0), step = frame.arg(1);
  const AnyBuffer ids = frame.ret(0), true_count = frame.ret(1), sampled_count = frame.ret(2);
  ssl_batch batch;
  SSL_INIT(batch);
  expect_labels(labels, frame.num_true());
  set_labels(batch, labels, frame.has_ignore_index != 0, frame.ignore_index);

  ssl_candidates candidates;
  SSL_INIT(candidates);
  candidates.source = SSL_CANDIDATES_DRAW;
  const auto* traced = words_of<uint64_t>("step", step, {});
  if (frame.place.backend == SSL_BACKEND_CPU) {
    std::memcpy(&candidates.step, traced, sizeof candidates.step);
  } else if (frame.generator() == SSL_GENERATOR_PHILOX) {
    candidates.step_pointer = traced;
  } else {
    Driver::get().read(&candidates.step, traced, sizeof candidates.step, frame.place.stream);
  }
  candidates.ids = words_of<int64_t>("sampled_candidates", ids, {frame.num_sampled()});
  candidates.learned_counts = learned_counts;
  set_counts(candidates, true_count, {batch.num_rows, frame.num_true()}, sampled_count, frame.num_sampled());
  check(Functions().sample(handle, &batch, &candidates, frame.place.stream));
}

// labels, step -> ids, expected counts
void sample(const Frame& frame) { draw(frame, frame.handle()->get(), nullptr); }
void sample_on_device(const Frame& frame) { sample(frame); }

// labels, step, counts [C, 2] words -> ids, expected counts, counts after the draw
//
// What a learned sampler has learned is an argument and a result here, since a program
// of XLA has no state; so there is a handle for each call.
void learn(const Frame& frame) {
  const Config config = config_of(frame.config, "", frame.place);
  ssl_config fields = config.Fields();
  fields.learned_counts = words_of<int64_t>("learned_counts", frame.arg(2), {frame.num_classes()});
  ssl_handle* made = nullptr;
  check(Functions().create(&fields, &made));
  const Handle handle(made);
  draw(frame, made, words_of<int64_t>("learned_counts", frame.ret(3), {frame.num_classes()}));
}

// operands -> loss [N] or [], log-sum-exp [N, 2] words, workspace
void forward(const Frame& frame) {
  Call call(frame, frame.ret(2));
  call.set_loss(frame.ret(0));
  call.set_log_sum_exp(frame.ret(1));
  check(Functions().forward(call.handle->get(), &call.batch, &call.candidates, &call.loss, call.workspace(),
                        call.workspace_size(), frame.place.stream));
}

// operands, log-sum-exp, grad_output and rooms -> gradients, workspace
void backward(const Frame& frame) {
  Call call(frame, frame.ret(5));
  call.set_log_sum_exp(frame.arg(8));
  const Gradients gradients(frame, call, 9, 0);
  check(Functions().backward(call.handle->get(), &call.batch, &call.candidates, &call.loss, &gradients.fields,
                         call.workspace(), call.workspace_size(), frame.place.stream));
  gradients.clear_behind_last();
}

// operands, grad_output and rooms -> loss, log-sum-exp, gradients, workspace
void forward_backward(const Frame& frame) {
  Call call(frame, frame.ret(7));
  call.set_loss(frame.ret(0));
  call.set_log_sum_exp(frame.ret(1));
  const Gradients gradients(frame, call, 8, 2);
  check(Functions().forward_backward(call.handle->get(), &call.batch, &call.candidates, &call.loss, &gradients.fields,
                                 call.workspace(), call.workspace_size(), frame.place.stream));
  gradients.clear_behind_last();
}

}  // namespace

#define SAMPLED_SOFTMAX_EXPORT __attribute__((visibility("default")))

#define SAMPLED_SOFTMAX_CPU_HANDLER(body)                                                            \
  extern "C" SAMPLED_SOFTMAX_EXPORT XLA_FFI_Error* sampled_softmax_##body##_cpu(XLA_FFI_CallFrame*); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(sampled_softmax_##body##_cpu, run_on_cpu<body>, cpu_frame())

#define SAMPLED_SOFTMAX_CUDA_HANDLER(body, ...)                                                       \
  extern "C" SAMPLED_SOFTMAX_EXPORT XLA_FFI_Error* sampled_softmax_##body##_cuda(XLA_FFI_CallFrame*); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(sampled_softmax_##body##_cuda, run_on_cuda<body>, cuda_frame(), {__VA_ARGS__})

SAMPLED_SOFTMAX_CPU_HANDLER(sample);
SAMPLED_SOFTMAX_CPU_HANDLER(sample_on_device);
SAMPLED_SOFTMAX_CPU_HANDLER(learn);
SAMPLED_SOFTMAX_CPU_HANDLER(forward);
SAMPLED_SOFTMAX_CPU_HANDLER(backward);
SAMPLED_SOFTMAX_CPU_HANDLER(forward_backward);

SAMPLED_SOFTMAX_CUDA_HANDLER(sample);
SAMPLED_SOFTMAX_CUDA_HANDLER(sample_on_device, xla::ffi::Traits::kCmdBufferCompatible);
SAMPLED_SOFTMAX_CUDA_HANDLER(forward, xla::ffi::Traits::kCmdBufferCompatible);
SAMPLED_SOFTMAX_CUDA_HANDLER(backward, xla::ffi::Traits::kCmdBufferCompatible);
SAMPLED_SOFTMAX_CUDA_HANDLER(forward_backward, xla::ffi::Traits::kCmdBufferCompatible);

// The version of XLA's interface for foreign functions that this was compiled with. XLA
// takes older ones, and refuses newer ones.
extern "C" SAMPLED_SOFTMAX_EXPORT uint32_t sampled_softmax_jax_xla_version() {
  return XLA_FFI_API_MAJOR << 16 | XLA_FFI_API_MINOR;
}

// Copies the unigram weights of `config` under a name that programs will use.
extern "C" SAMPLED_SOFTMAX_EXPORT void sampled_softmax_jax_name_unigrams(const char* name, const ssl_config* config) {
  Unigrams unigrams;
  if (config->num_unigrams > 0) unigrams.weights.assign(config->unigrams, config->unigrams + config->num_unigrams);
  if (config->vocab_file != nullptr) unigrams.vocab_file = config->vocab_file;
  unigrams.distortion = config->distortion;
  unigrams.num_reserved_ids = config->num_reserved_ids;
  unigrams.num_shards = config->num_shards;
  unigrams.shard = config->shard;
  named_unigrams().add(name, std::move(unigrams));
}

// Makes the handle that a program will need, so that its configuration is refused, if it
// must be, while the program is traced; and never made while a GPU's stream is captured.
// Where `batch` is not NULL, also says how much workspace it needs.
extern "C" SAMPLED_SOFTMAX_EXPORT ssl_status sampled_softmax_jax_prepare(const int64_t* config, size_t num_fields,
                                                                         const char* unigrams, uint32_t backend,
                                                                         int32_t device, const ssl_batch* batch,
                                                                         size_t* workspace_size) {
  const Place place{backend, device, nullptr};
  try {
    const std::shared_ptr<Handle> handle = handle_of(config_of({config, num_fields}, unigrams, place));
    if (batch == nullptr) return SSL_STATUS_OK;
    size_t forward = 0, backward = 0;
    const ssl_status status = Functions().workspace_size(handle->get(), batch, &forward, &backward);
    *workspace_size = std::max(forward, backward);
    return status;
  } catch (const Refused& refused) {
    return refused.status;
  } catch (const std::exception&) {
    return SSL_STATUS_HOST_MEMORY;
  }
}

}  // namespace sampled_softmax::jax
