#ifndef SAMPLED_SOFTMAX_TENSORFLOW_OPS_H
#define SAMPLED_SOFTMAX_TENSORFLOW_OPS_H

// The ops: names, types and shapes. Attributes that need more than float32 are decimal
// strings, since TensorFlow's float attributes have no more.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace sampled_softmax_tf {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

inline absl::Status NoInputsShape(InferenceContext* context) {
  context->set_output(0, context->Scalar());
  return absl::OkStatus();
}

inline absl::Status SampleShape(InferenceContext* context) {
  ShapeHandle labels, step;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(0), 2, &labels));
  TF_RETURN_IF_ERROR(context->WithRank(context->input(1), 0, &step));
  int64_t num_sampled = 0;
  TF_RETURN_IF_ERROR(context->GetAttr("num_sampled", &num_sampled));
  context->set_output(0, context->Vector(num_sampled));
  context->set_output(1, labels);
  context->set_output(2, context->Vector(num_sampled));
  return absl::OkStatus();
}

// Checks what forward and backward have in common. `first` is the index of inputs.
inline absl::Status BatchShape(InferenceContext* context, int first, ShapeHandle* inputs, ShapeHandle* weights,
                               int* num_biases) {
  ShapeHandle labels, ids, true_counts, sampled_counts, merged;
  DimensionHandle same;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(first), 2, inputs));
  TF_RETURN_IF_ERROR(context->WithRank(context->input(first + 1), 2, weights));
  TF_RETURN_IF_ERROR(context->Merge(context->Dim(*inputs, 1), context->Dim(*weights, 1), &same));
  TF_RETURN_IF_ERROR(context->GetAttr("num_biases", num_biases));
  int next = first + 2;
  for (int i = 0; i < *num_biases; ++i) {
    ShapeHandle biases;
    TF_RETURN_IF_ERROR(context->WithRank(context->input(next++), 1, &biases));
    TF_RETURN_IF_ERROR(context->Merge(context->Dim(biases, 0), context->Dim(*weights, 0), &same));
  }
  TF_RETURN_IF_ERROR(context->WithRank(context->input(next++), 2, &labels));
  TF_RETURN_IF_ERROR(context->Merge(context->Dim(labels, 0), context->Dim(*inputs, 0), &same));
  TF_RETURN_IF_ERROR(context->WithRank(context->input(next++), 1, &ids));
  TF_RETURN_IF_ERROR(context->Merge(context->input(next++), labels, &true_counts));
  return context->Merge(context->input(next++), ids, &sampled_counts);
}

inline absl::Status ForwardShape(InferenceContext* context) {
  ShapeHandle inputs, weights;
  int num_biases = 0;
  TF_RETURN_IF_ERROR(BatchShape(context, 0, &inputs, &weights, &num_biases));
  std::string reduction;
  TF_RETURN_IF_ERROR(context->GetAttr("reduction", &reduction));
  ShapeHandle rows = context->Vector(context->Dim(inputs, 0));
  context->set_output(0, reduction == "none" ? rows : context->Scalar());
  context->set_output(1, rows);
  return absl::OkStatus();
}

inline absl::Status BackwardShape(InferenceContext* context) {
  ShapeHandle inputs, weights;
  int num_biases = 0;
  TF_RETURN_IF_ERROR(BatchShape(context, 1, &inputs, &weights, &num_biases));
  DimensionHandle num_rows = context->UnknownDim();
  int next = 0;
  context->set_output(next++, inputs);
  context->set_output(next++, context->Matrix(num_rows, context->Dim(weights, 1)));
  for (int i = 0; i < num_biases; ++i) context->set_output(next++, context->Vector(num_rows));
  context->set_output(next, context->Vector(num_rows));
  return absl::OkStatus();
}

inline absl::Status GatherShape(InferenceContext* context) {
  int num_biases = 0;
  TF_RETURN_IF_ERROR(context->GetAttr("num_biases", &num_biases));
  ShapeHandle weights = context->UnknownShapeOfRank(2);
  auto* of_handle = context->input_handle_shapes_and_types(0);
  if (of_handle != nullptr && !of_handle->empty()) {
    TF_RETURN_IF_ERROR(context->WithRank((*of_handle)[0].shape, 2, &weights));
  }
  DimensionHandle capacity = context->UnknownDim();
  int next = 0;
  context->set_output(next++, context->Matrix(capacity, context->Dim(weights, 1)));
  for (int i = 0; i < num_biases; ++i) context->set_output(next++, context->Vector(capacity));
  context->set_output(next++, context->Vector(capacity));
  context->set_output(next++, context->input(1 + num_biases));
  context->set_output(next, context->input(2 + num_biases));
  return absl::OkStatus();
}

// The number of the next draw of (seed, rank) in this process. It starts at 0, or, where
// the seed is nobody's choice, at a number of the system's entropy: a saved graph must
// not repeat the draws of the process that saved it.
REGISTER_OP("SampledSoftmaxNextStep")
    .Output("step: int64")
    .Attr("seed: int")
    .Attr("rank: int")
    .Attr("entropy: bool")
    .SetIsStateful()
    .SetShapeFn(NoInputsShape);

REGISTER_OP("SampledSoftmaxSample")
    .Input("labels: Tlabels")
    .Input("step: int64")
    .Output("ids: int64")
    .Output("true_expected_count: Tcounts")
    .Output("sampled_expected_count: Tcounts")
    .Attr("Tlabels: {int32, int64}")
    .Attr("Tcounts: {float, double} = DT_FLOAT")
    .Attr("num_sampled: int >= 1")
    .Attr("num_classes: int >= 1")
    .Attr("sampler: {'uniform', 'log_uniform', 'fixed_unigram', 'learned_unigram', 'all'}")
    .Attr("unique: bool = true")
    .Attr("exact_counts: bool = false")
    .Attr("exclude_labels: bool = false")
    .Attr("seed: int")
    .Attr("rank: int = 0")
    .Attr("has_ignore_index: bool = false")
    .Attr("ignore_index: int = 0")
    .Attr("unigrams: string = ''")
    .Attr("vocab_file: string = ''")
    .Attr("distortion: string = '1'")
    .Attr("num_reserved_ids: int = 0")
    .Attr("num_shards: int = 1")
    .Attr("shard: int = 0")
    .Attr("labels_name: string = 'labels'")
    // A function of its inputs, except where it learns; but drawing is not worth folding
    // into a constant of the size of the sample.
    .SetIsStateful()
    .SetShapeFn(SampleShape);

// `rows` are the classes that were taken, ascending, -1 behind the last; the labels and
// candidates that come out number them from 0 on, and -1 is what `ignore_index` was.
REGISTER_OP("SampledSoftmaxGather")
    .Input("weights: resource")
    .Input("biases: num_biases * resource")
    .Input("labels: Tlabels")
    .Input("ids: int64")
    .Output("row_weights: num_weights * Tweights")
    .Output("row_biases: num_biases * Tbiases")
    .Output("rows: int64")
    .Output("row_labels: int64")
    .Output("row_candidates: int64")
    .Attr("Tweights: {float, half, bfloat16, double}")
    .Attr("Tbiases: {float, half, bfloat16, double} = DT_FLOAT")
    .Attr("Tlabels: {int32, int64}")
    .Attr("num_weights: int >= 1 = 1")
    .Attr("num_biases: int >= 0")
    .Attr("has_ignore_index: bool = false")
    .Attr("ignore_index: int = 0")
    .SetIsStateful()
    .SetShapeFn(GatherShape);

#define SAMPLED_SOFTMAX_BATCH_ATTRS              \
  Attr("Tinputs: {float, half, bfloat16, double}")   \
      .Attr("Tweights: {float, half, bfloat16, double}") \
      .Attr("Tbiases: {float, half, bfloat16, double} = DT_FLOAT") \
      .Attr("Tlabels: {int32, int64}")               \
      .Attr("Tcounts: {float, double}")              \
      .Attr("Tloss: {float, double}")                \
      .Attr("Tscale: {float, double} = DT_FLOAT")     \
      .Attr("num_biases: int >= 0")                  \
      .Attr("num_sample_weights: int >= 0")          \
      .Attr("remove_accidental_hits: bool = true")   \
      .Attr("reduction: {'none', 'mean', 'sum'} = 'none'") \
      .Attr("probability_floor: string = '0'")       \
      .Attr("has_ignore_index: bool = false")        \
      .Attr("ignore_index: int = 0")                 \
      .Attr("num_threads: int = 0")

#define SAMPLED_SOFTMAX_BATCH_INPUTS             \
  Input("inputs: Tinputs")                       \
      .Input("weights: Tweights")                \
      .Input("biases: num_biases * Tbiases")     \
      .Input("labels: Tlabels")                  \
      .Input("ids: int64")                       \
      .Input("true_expected_count: Tcounts")     \
      .Input("sampled_expected_count: Tcounts")  \
      .Input("sample_weights: num_sample_weights * Tscale")

REGISTER_OP("SampledSoftmaxForward")
    .SAMPLED_SOFTMAX_BATCH_INPUTS
    .Output("loss: Tloss")
    .Output("log_sum_exp: double")
    .SAMPLED_SOFTMAX_BATCH_ATTRS
    .SetShapeFn(ForwardShape);

REGISTER_OP("SampledSoftmaxBackward")
    .Input("grad_output: Tloss")
    .SAMPLED_SOFTMAX_BATCH_INPUTS
    .Input("log_sum_exp: double")
    .Output("d_inputs: Tinputs")
    .Output("d_weights: Tweights")
    .Output("d_biases: num_biases * Tbiases")
    .Output("row_ids: int64")
    .SAMPLED_SOFTMAX_BATCH_ATTRS
    .SetShapeFn(BackwardShape);

}  // namespace sampled_softmax_tf

#endif
