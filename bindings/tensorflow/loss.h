#ifndef SAMPLED_SOFTMAX_TENSORFLOW_LOSS_H
#define SAMPLED_SOFTMAX_TENSORFLOW_LOSS_H

// Forward and backward. What backward needs of forward are tensors of the graph.

#include <algorithm>

#include "sample.h"

namespace sampled_softmax_tf {

using tensorflow::DataType;
using tensorflow::OpInputList;
using tensorflow::OpOutputList;

inline uint32_t FloatDtype(DataType dtype) {
  switch (dtype) {
    case tensorflow::DT_HALF:
      return SSL_DTYPE_FLOAT16;
    case tensorflow::DT_BFLOAT16:
      return SSL_DTYPE_BFLOAT16;
    case tensorflow::DT_DOUBLE:
      return SSL_DTYPE_FLOAT64;
    default:
      return SSL_DTYPE_FLOAT32;
  }
}

inline absl::Status CheckShape(const char* name, const Tensor& tensor, const TensorShape& wanted) {
  if (tensor.shape() == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string(name) + " has shape " + tensor.shape().DebugString() + "; " +
                                    wanted.DebugString() + " is needed");
}

// The tensors of a loss, checked against one another; `biases` and `sample_weights` are
// NULL where there are none.
struct Tensors {
  const Tensor* inputs = nullptr;
  const Tensor* weights = nullptr;
  const Tensor* biases = nullptr;
  const Tensor* labels = nullptr;
  const Tensor* ids = nullptr;
  const Tensor* true_counts = nullptr;
  const Tensor* sampled_counts = nullptr;
  const Tensor* sample_weights = nullptr;

  absl::Status Get(OpKernelContext* context) {
    OpInputList biases_list, sample_weights_list;
    TF_RETURN_IF_ERROR(context->input("inputs", &inputs));
    TF_RETURN_IF_ERROR(context->input("weights", &weights));
    TF_RETURN_IF_ERROR(context->input_list("biases", &biases_list));
    TF_RETURN_IF_ERROR(context->input("labels", &labels));
    TF_RETURN_IF_ERROR(context->input("ids", &ids));
    TF_RETURN_IF_ERROR(context->input("true_expected_count", &true_counts));
    TF_RETURN_IF_ERROR(context->input("sampled_expected_count", &sampled_counts));
    TF_RETURN_IF_ERROR(context->input_list("sample_weights", &sample_weights_list));
    if (biases_list.size() > 0) biases = &biases_list[0];
    if (sample_weights_list.size() > 0) sample_weights = &sample_weights_list[0];
    return Check();
  }

  absl::Status Check() const {
    if (inputs->dims() != 2 || inputs->dim_size(1) < 1) {
      return absl::InvalidArgumentError("inputs has shape " + inputs->shape().DebugString() + "; [N, d] is needed");
    }
    int64_t num_rows = inputs->dim_size(0);
    if (weights->dims() != 2 || weights->dim_size(1) != inputs->dim_size(1) || weights->dim_size(0) < 1) {
      return absl::InvalidArgumentError("weights has shape " + weights->shape().DebugString() + "; [C, " +
                                        std::to_string(inputs->dim_size(1)) + "] is needed, for inputs of shape " +
                                        inputs->shape().DebugString());
    }
    if (labels->dims() != 2 || labels->dim_size(0) != num_rows || labels->dim_size(1) < 1) {
      return absl::InvalidArgumentError("labels has shape " + labels->shape().DebugString() + "; [" +
                                        std::to_string(num_rows) + ", T] is needed, for inputs of shape " +
                                        inputs->shape().DebugString());
    }
    if (ids->dims() != 1 || ids->NumElements() < 1) {
      return absl::InvalidArgumentError("sampled_candidates has shape " + ids->shape().DebugString() +
                                        "; [S] is needed");
    }
    TF_RETURN_IF_ERROR(CheckShape("true_expected_count", *true_counts, labels->shape()));
    TF_RETURN_IF_ERROR(CheckShape("sampled_expected_count", *sampled_counts, ids->shape()));
    if (biases != nullptr) TF_RETURN_IF_ERROR(CheckShape("biases", *biases, TensorShape({weights->dim_size(0)})));
    if (sample_weights == nullptr) return absl::OkStatus();
    if ((sample_weights->dtype() == tensorflow::DT_DOUBLE) != (inputs->dtype() == tensorflow::DT_DOUBLE)) {
      return absl::InvalidArgumentError("sample_weights is float64 exactly where inputs is");
    }
    return CheckShape("sample_weights", *sample_weights, TensorShape({num_rows}));
  }

  void Fill(ssl_batch* batch, ssl_candidates* candidates) const {
    batch->num_rows = inputs->dim_size(0);
    batch->dim = inputs->dim_size(1);
    batch->inputs = Data(*inputs);
    batch->inputs_dtype = FloatDtype(inputs->dtype());
    batch->weights = Data(*weights);
    batch->weights_dtype = FloatDtype(weights->dtype());
    batch->biases = biases == nullptr ? nullptr : Data(*biases);
    batch->biases_dtype = biases == nullptr ? 0 : FloatDtype(biases->dtype());
    batch->labels = Data(*labels);
    batch->labels_dtype = LabelsDtype(*labels);
    batch->sample_weights = sample_weights == nullptr ? nullptr : Data(*sample_weights);
    candidates->source = SSL_CANDIDATES_GIVEN;
    candidates->counts_dtype = CountsDtype(*true_counts);
    candidates->ids = static_cast<int64_t*>(Data(*ids));
    candidates->true_expected_count = Data(*true_counts);
    candidates->sampled_expected_count = Data(*sampled_counts);
  }
};

// What the two kernels share: the configuration, and the structs of a call.
template <typename Engine>
class LossKernel : public OpKernel {
 public:
  explicit LossKernel(OpKernelConstruction* context) : OpKernel(context) {
    std::string reduction;
    bool remove = true;
    int64_t num_threads = 0;
    config_.backend = Engine::kBackend;
    OP_REQUIRES_OK(context, context->GetAttr("reduction", &reduction));
    OP_REQUIRES_OK(context, context->GetAttr("remove_accidental_hits", &remove));
    OP_REQUIRES_OK(context, GetDecimal(context, "probability_floor", &config_.probability_floor));
    OP_REQUIRES_OK(context, context->GetAttr("has_ignore_index", &has_ignore_index_));
    OP_REQUIRES_OK(context, context->GetAttr("ignore_index", &ignore_index_));
    OP_REQUIRES_OK(context, context->GetAttr("num_threads", &num_threads));
    config_.reduction = reduction == "mean"  ? SSL_REDUCTION_MEAN
                        : reduction == "sum" ? SSL_REDUCTION_SUM
                                             : SSL_REDUCTION_NONE;
    config_.hits = remove ? SSL_HITS_MASK : SSL_HITS_KEEP;
    config_.num_threads = Engine::kBackend == SSL_BACKEND_CPU ? static_cast<uint32_t>(num_threads) : 0;
  }

 protected:
  struct Call {
    Tensors tensors;
    ssl_batch batch;
    ssl_candidates candidates;
    ssl_loss loss;
    std::shared_ptr<Handle> handle;
    typename Engine::Workspace workspace;
  };

  absl::Status Prepare(OpKernelContext* context, bool backward, Call* call) {
    TF_RETURN_IF_ERROR(call->tensors.Get(context));
    SSL_INIT(call->batch);
    SSL_INIT(call->candidates);
    SSL_INIT(call->loss);
    call->tensors.Fill(&call->batch, &call->candidates);
    call->batch.has_ignore_index = has_ignore_index_;
    call->batch.ignore_index = ignore_index_;
    Config config = config_;
    config.num_classes = call->tensors.weights->dim_size(0);
    config.num_sampled = call->tensors.ids->NumElements();
    config.num_true = call->tensors.labels->dim_size(1);
    config.device = Engine::Device(context);
    TF_RETURN_IF_ERROR(CheckBound());
    TF_RETURN_IF_ERROR(ToStatus(slot_.Get(config, &call->handle)));
    size_t size = 0;
    TF_RETURN_IF_ERROR(ToStatus(Functions().workspace_size(call->handle->get(), &call->batch,
                                                           backward ? nullptr : &size, backward ? &size : nullptr)));
    return call->workspace.Allocate(context, size);
  }

  TensorShape LossShape(const Call& call) const {
    return config_.reduction == SSL_REDUCTION_NONE ? TensorShape({call.batch.num_rows}) : TensorShape({});
  }

 private:
  Config config_;
  bool has_ignore_index_ = false;
  int64_t ignore_index_ = 0;
  HandleSlot slot_;
};

template <typename Engine>
class ForwardKernel : public LossKernel<Engine> {
 public:
  using LossKernel<Engine>::LossKernel;

  void Compute(OpKernelContext* context) override {
    typename LossKernel<Engine>::Call call;
    OP_REQUIRES_OK(context, this->Prepare(context, false, &call));
    Tensor *loss = nullptr, *log_sum_exp = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, this->LossShape(call), &loss));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({call.batch.num_rows}), &log_sum_exp));
    call.loss.loss = Data(*loss);
    call.loss.log_sum_exp = static_cast<double*>(Data(*log_sum_exp));
    OP_REQUIRES_OK(context, ToStatus(Functions().forward(call.handle->get(), &call.batch, &call.candidates, &call.loss,
                                                         call.workspace.data(), call.workspace.size(),
                                                         Engine::Stream(context))));
  }
};

template <typename Engine>
class BackwardKernel : public LossKernel<Engine> {
 public:
  using LossKernel<Engine>::LossKernel;

  void Compute(OpKernelContext* context) override {
    typename LossKernel<Engine>::Call call;
    OP_REQUIRES_OK(context, this->Prepare(context, true, &call));
    const Tensors& tensors = call.tensors;
    const Tensor *grad_output = nullptr, *log_sum_exp = nullptr;
    OP_REQUIRES_OK(context, context->input("grad_output", &grad_output));
    OP_REQUIRES_OK(context, context->input("log_sum_exp", &log_sum_exp));
    OP_REQUIRES_OK(context, CheckShape("grad_output", *grad_output, this->LossShape(call)));
    OP_REQUIRES_OK(context, CheckShape("log_sum_exp", *log_sum_exp, TensorShape({call.batch.num_rows})));
    call.loss.log_sum_exp = static_cast<double*>(Data(*log_sum_exp));

    // Rows are written densely from the first on, so that a slice is the result.
    int64_t capacity = std::min(tensors.weights->dim_size(0), tensors.ids->NumElements() + tensors.labels->NumElements());
    Tensor *d_inputs = nullptr, d_weights, d_biases, row_ids, num_rows;
    OP_REQUIRES_OK(context, context->allocate_output(0, tensors.inputs->shape(), &d_inputs));
    OP_REQUIRES_OK(context, context->allocate_temp(tensors.weights->dtype(),
                                                   TensorShape({capacity, call.batch.dim}), &d_weights));
    if (tensors.biases != nullptr) {
      OP_REQUIRES_OK(context, context->allocate_temp(tensors.biases->dtype(), TensorShape({capacity}), &d_biases));
    }
    OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_INT64, TensorShape({capacity}), &row_ids));
    OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_INT64, TensorShape({}), &num_rows));

    ssl_gradients gradients;
    SSL_INIT(gradients);
    gradients.layout = SSL_GRADIENTS_SPARSE;
    gradients.grad_output = Data(*grad_output);
    gradients.d_inputs_dtype = FloatDtype(tensors.inputs->dtype());
    gradients.d_inputs = Data(*d_inputs);
    gradients.d_weights_dtype = FloatDtype(tensors.weights->dtype());
    gradients.d_weights = Data(d_weights);
    if (tensors.biases != nullptr) {
      gradients.d_biases_dtype = FloatDtype(tensors.biases->dtype());
      gradients.d_biases = Data(d_biases);
    }
    gradients.row_ids = static_cast<int64_t*>(Data(row_ids));
    gradients.num_rows = static_cast<int64_t*>(Data(num_rows));
    gradients.row_capacity = capacity;
    OP_REQUIRES_OK(context, ToStatus(Functions().backward(call.handle->get(), &call.batch, &call.candidates, &call.loss,
                                                          &gradients, call.workspace.data(), call.workspace.size(),
                                                          Engine::Stream(context))));
    int64_t written = 0;
    OP_REQUIRES_OK(context, Engine::Read(context, num_rows, &written));
    int next = 1;
    context->set_output(next++, d_weights.Slice(0, written));
    if (tensors.biases != nullptr) context->set_output(next++, d_biases.Slice(0, written));
    context->set_output(next, row_ids.Slice(0, written));
  }
};

}  // namespace sampled_softmax_tf

#endif
