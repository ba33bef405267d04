#ifndef SAMPLED_SOFTMAX_TENSORFLOW_GATHER_H
#define SAMPLED_SOFTMAX_TENSORFLOW_GATHER_H

// The rows of weights and biases that a batch needs, taken out of their variables.
//
// A variable that is updated by rows, as ours are, is copied as a whole wherever an op
// takes it as a tensor. This op reads the variable in place and numbers the rows it took
// from 0 on, in ascending order, so that the loss of these few classes is that of all.
// It also fixes their values: backward computes logits again, and must see those of
// forward, although the variable may have been updated in between.

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "engine.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"

namespace sampled_softmax_tf {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::Var;

// Room for the rows of a batch. A power of two, since a handle of the library belongs to
// a number of classes, and batches of many sizes should share a few.
inline int64_t RowCapacity(int64_t num_classes, int64_t most) {
  int64_t capacity = 64;
  while (capacity < most) capacity *= 2;
  return std::min(capacity, num_classes);
}

inline std::string Place(const char* name, int64_t index, int64_t num_columns) {
  std::string place = std::to_string(index / num_columns);
  if (num_columns > 1) place += ", " + std::to_string(index % num_columns);
  return std::string(name) + "[" + place + "]";
}

// The classes of a batch, ascending and each once; those out of range are an error.
class Classes {
 public:
  explicit Classes(int64_t num_classes) : num_classes_(num_classes) {}

  absl::Status Add(const char* name, int64_t index, int64_t num_columns, int64_t id) {
    if (id < 0 || id >= num_classes_) {
      return absl::InvalidArgumentError(Place(name, index, num_columns) + " = " + std::to_string(id) +
                                        " is outside [0, " + std::to_string(num_classes_) + ")");
    }
    ids_.push_back(id);
    return absl::OkStatus();
  }
  void Close() {
    if (!std::is_sorted(ids_.begin(), ids_.end())) std::sort(ids_.begin(), ids_.end());
    ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
  }
  int64_t Number(int64_t id) const { return std::lower_bound(ids_.begin(), ids_.end(), id) - ids_.begin(); }
  const std::vector<int64_t>& ids() const { return ids_; }

 private:
  int64_t num_classes_;
  std::vector<int64_t> ids_;
};

class GatherKernel : public OpKernel {
 public:
  explicit GatherKernel(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("has_ignore_index", &has_ignore_index_));
    OP_REQUIRES_OK(context, context->GetAttr("ignore_index", &ignore_index_));
  }

  void Compute(OpKernelContext* context) override {
    tensorflow::core::RefCountPtr<Var> weights;
    OP_REQUIRES_OK(context, LookupResource(context, tensorflow::HandleFromInput(context, 0), &weights));
    const Tensor *labels = nullptr, *ids = nullptr;
    OP_REQUIRES_OK(context, context->input("labels", &labels));
    OP_REQUIRES_OK(context, context->input("ids", &ids));
    int64_t num_classes = 0;
    {
      tensorflow::tf_shared_lock lock(*weights->mu());
      OP_REQUIRES(context, weights->is_initialized && weights->tensor()->dims() == 2,
                  absl::FailedPreconditionError("weights is not an initialized variable of shape [C, d]"));
      num_classes = weights->tensor()->dim_size(0);
    }
    OP_REQUIRES(context, labels->dims() == 2 && labels->dim_size(1) >= 1 && ids->dims() == 1,
                absl::InvalidArgumentError("labels has shape " + labels->shape().DebugString() +
                                           "; [N, num_true] is needed"));
    if (labels->dtype() == tensorflow::DT_INT32) {
      Number<int32_t>(context, *labels, *ids, num_classes, weights.get());
    } else {
      Number<int64_t>(context, *labels, *ids, num_classes, weights.get());
    }
  }

 private:
  template <typename Label>
  void Number(OpKernelContext* context, const Tensor& labels, const Tensor& ids, int64_t num_classes, Var* weights) {
    const Label* label = static_cast<const Label*>(Data(labels));
    const int64_t* id = static_cast<const int64_t*>(Data(ids));
    int64_t num_rows = labels.dim_size(0), num_true = labels.dim_size(1), num_sampled = ids.NumElements();
    auto ignored = [&](int64_t n) { return has_ignore_index_ && label[n * num_true] == ignore_index_; };
    Classes classes(num_classes);
    for (int64_t j = 0; j < num_sampled; ++j) OP_REQUIRES_OK(context, classes.Add("sampled_candidates", j, 1, id[j]));
    for (int64_t n = 0; n < num_rows; ++n) {
      OP_REQUIRES_OK(context, AllOrNone(label, n, num_true));
      if (ignored(n)) continue;
      for (int64_t i = n * num_true; i < (n + 1) * num_true; ++i) {
        OP_REQUIRES_OK(context, classes.Add("labels", i, num_true, label[i]));
      }
    }
    classes.Close();

    int64_t capacity = RowCapacity(num_classes, num_sampled + num_rows * num_true);
    Tensor *rows = nullptr, *row_labels = nullptr, *row_ids = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output("rows", TensorShape({capacity}), &rows));
    OP_REQUIRES_OK(context, context->allocate_output("row_labels", labels.shape(), &row_labels));
    OP_REQUIRES_OK(context, context->allocate_output("row_candidates", ids.shape(), &row_ids));
    int64_t* row = rows->flat<int64_t>().data();
    std::copy(classes.ids().begin(), classes.ids().end(), row);
    std::fill(row + classes.ids().size(), row + capacity, -1);
    for (int64_t n = 0; n < num_rows; ++n) {
      for (int64_t i = n * num_true; i < (n + 1) * num_true; ++i) {
        row_labels->flat<int64_t>()(i) = ignored(n) ? -1 : classes.Number(label[i]);
      }
    }
    for (int64_t j = 0; j < num_sampled; ++j) row_ids->flat<int64_t>()(j) = classes.Number(id[j]);

    OP_REQUIRES_OK(context, Take(context, weights, classes.ids(), num_classes, capacity, "row_weights"));
    tensorflow::OpInputList biases;
    OP_REQUIRES_OK(context, context->input_list("biases", &biases));
    if (biases.size() == 0) return;
    tensorflow::core::RefCountPtr<Var> vector;
    OP_REQUIRES_OK(context, LookupResource(context, biases[0].scalar<tensorflow::ResourceHandle>()(), &vector));
    OP_REQUIRES_OK(context, Take(context, vector.get(), classes.ids(), num_classes, capacity, "row_biases"));
  }

  // A row that is ignored in part would be ambiguous.
  template <typename Label>
  absl::Status AllOrNone(const Label* label, int64_t n, int64_t num_true) const {
    if (!has_ignore_index_) return absl::OkStatus();
    int64_t first = n * num_true;
    for (int64_t i = first; i < first + num_true; ++i) {
      if ((label[i] == ignore_index_) == (label[first] == ignore_index_)) continue;
      return absl::InvalidArgumentError(Place("labels", i, num_true) + " = " + std::to_string(label[i]) + ", " +
                                        Place("labels", first, num_true) + " = " + std::to_string(label[first]) +
                                        ": of a row's labels, all or none are ignore_index");
    }
    return absl::OkStatus();
  }

  // Copies the rows. The lock is held meanwhile, as TensorFlow's own gather holds it: a
  // reference to the variable's tensor would make the next update copy all of it.
  absl::Status Take(OpKernelContext* context, Var* variable, const std::vector<int64_t>& ids, int64_t num_classes,
                    int64_t capacity, const std::string& output) {
    std::string name = output.substr(strlen("row_"));
    tensorflow::tf_shared_lock lock(*variable->mu());
    if (!variable->is_initialized) return absl::FailedPreconditionError(name + " is not an initialized variable");
    const Tensor& source = *variable->tensor();
    int dims = name == "weights" ? 2 : 1;
    if (source.dims() != dims || source.dim_size(0) != num_classes) {
      return absl::InvalidArgumentError(name + " has shape " + source.shape().DebugString() + "; [" +
                                        std::to_string(num_classes) + (dims == 2 ? ", d]" : "]") + " is needed");
    }
    TensorShape shape = source.shape();
    shape.set_dim(0, capacity);
    tensorflow::OpOutputList outputs;
    TF_RETURN_IF_ERROR(context->output_list(output, &outputs));
    Tensor* taken = nullptr;
    TF_RETURN_IF_ERROR(outputs.allocate(0, shape, &taken));
    if (taken->dtype() != source.dtype()) return absl::InvalidArgumentError(name + " has another dtype than its op");
    size_t bytes = source.tensor_data().size() / source.dim_size(0);
    const char* from = source.tensor_data().data();
    char* to = static_cast<char*>(Data(*taken));
    for (size_t i = 0; i < ids.size(); ++i) memcpy(to + i * bytes, from + ids[i] * bytes, bytes);
    // No class of the batch has these numbers; they are there to be a whole matrix.
    memset(to + ids.size() * bytes, 0, (capacity - ids.size()) * bytes);
    return absl::OkStatus();
  }

  bool has_ignore_index_ = false;
  int64_t ignore_index_ = 0;
};

}  // namespace sampled_softmax_tf

#endif
