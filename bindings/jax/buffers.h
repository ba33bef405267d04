// XLA's buffers as the structs of the C interface, their shapes checked.
//
// Python has checked all of this before it built the program; here it is checked again,
// because a program can also come from elsewhere, and these are raw pointers.
//
// 64-bit numbers (ids, steps, log-sum-exps) come and go as pairs of 32-bit words, low
// word first, [..., 2]: so they are the same whether JAX has 64-bit types enabled or not.
// A buffer of no elements stands for an argument or a result that is not wanted.

#ifndef SAMPLED_SOFTMAX_JAX_BUFFERS_H
#define SAMPLED_SOFTMAX_JAX_BUFFERS_H

#include <initializer_list>
#include <string>

#include "status.h"

namespace sampled_softmax::jax {

using xla::ffi::AnyBuffer;
using xla::ffi::DataType;

inline std::string text_of(xla::ffi::Span<const int64_t> shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + ")";
}

inline int64_t size_of(const AnyBuffer& buffer, size_t axis) { return buffer.dimensions()[axis]; }

inline void expect_shape(const char* name, const AnyBuffer& buffer, const std::vector<int64_t>& shape) {
  if (buffer.dimensions() == xla::ffi::Span<const int64_t>(shape)) return;
  throw invalid(std::string(name) + " has shape " + text_of(buffer.dimensions()) + "; " + text_of(shape) +
                " is needed");
}

inline void expect_rank(const char* name, const AnyBuffer& buffer, size_t rank) {
  if (buffer.dimensions().size() == rank) return;
  throw invalid(std::string(name) + " has shape " + text_of(buffer.dimensions()) + "; " + std::to_string(rank) +
                " axes are needed");
}

inline void expect_type(const char* name, const AnyBuffer& buffer, std::initializer_list<DataType> types) {
  for (const DataType type : types) {
    if (buffer.element_type() == type) return;
  }
  throw invalid(std::string(name) + " has an element type that is not supported");
}

inline uint32_t float_type(const char* name, const AnyBuffer& buffer) {
  switch (buffer.element_type()) {
    case DataType::F32: return SSL_DTYPE_FLOAT32;
    case DataType::F16: return SSL_DTYPE_FLOAT16;
    case DataType::BF16: return SSL_DTYPE_BFLOAT16;
    case DataType::F64: return SSL_DTYPE_FLOAT64;
    default: throw invalid(std::string(name) + " is not of floating point");
  }
}

// The data, or NULL where there is none: XLA may give an empty buffer any address.
template <typename T = void>
T* data_of(const AnyBuffer& buffer) {
  return buffer.element_count() == 0 ? nullptr : static_cast<T*>(buffer.untyped_data());
}

template <typename T>
T* words_of(const char* name, const AnyBuffer& buffer, std::vector<int64_t> shape) {
  static_assert(sizeof(T) == 8);
  expect_type(name, buffer, {DataType::U32});
  shape.push_back(2);
  expect_shape(name, buffer, shape);
  return data_of<T>(buffer);
}

inline void expect_labels(const AnyBuffer& labels, int64_t num_true) {
  expect_type("labels", labels, {DataType::S32, DataType::S64});
  expect_rank("labels", labels, 2);
  expect_shape("labels", labels, {size_of(labels, 0), num_true});
}

inline void set_labels(ssl_batch& batch, const AnyBuffer& labels, bool has_ignore_index, int64_t ignore_index) {
  batch.num_rows = size_of(labels, 0);
  batch.labels = data_of(labels);
  batch.labels_dtype = labels.element_type() == DataType::S64 ? SSL_LABELS_INT64 : SSL_LABELS_INT32;
  batch.has_ignore_index = has_ignore_index;
  batch.ignore_index = ignore_index;
}

inline void set_counts(ssl_candidates& candidates, const AnyBuffer& true_count,
                       const std::vector<int64_t>& labels_shape, const AnyBuffer& sampled_count, int64_t num_sampled) {
  expect_shape("true_expected_count", true_count, labels_shape);
  expect_shape("sampled_expected_count", sampled_count, {num_sampled});
  expect_type("sampled_expected_count", sampled_count, {DataType::F32, DataType::F64});
  expect_type("true_expected_count", true_count, {sampled_count.element_type()});
  candidates.counts_dtype = float_type("sampled_expected_count", sampled_count);
  candidates.true_expected_count = data_of(true_count);
  candidates.sampled_expected_count = data_of(sampled_count);
}

// What the loss is computed of; `Operands` are the leading arguments of three handlers.
struct Operands {
  AnyBuffer inputs, weights, biases, labels, sample_weights, ids, true_count, sampled_count;

  int64_t num_rows() const { return size_of(inputs, 0); }
  int64_t dim() const { return size_of(inputs, 1); }
  DataType loss_type() const {
    return inputs.element_type() == DataType::F64 ? DataType::F64 : DataType::F32;
  }

  ssl_batch batch(int64_t num_classes, int64_t num_true, bool has_ignore_index, int64_t ignore_index) const {
    expect_rank("inputs", inputs, 2);
    expect_shape("weights", weights, {num_classes, dim()});
    const bool biased = biases.element_count() != 0;
    if (biased) expect_shape("biases", biases, {num_classes});
    expect_labels(labels, num_true);
    expect_shape("labels", labels, {num_rows(), num_true});
    const bool weighted = sample_weights.element_count() != 0;
    if (weighted) expect_shape("sample_weights", sample_weights, {num_rows()});
    expect_type("sample_weights", sample_weights, {loss_type()});
    ssl_batch batch;
    SSL_INIT(batch);
    set_labels(batch, labels, has_ignore_index, ignore_index);
    batch.dim = dim();
    batch.inputs = data_of(inputs);
    batch.inputs_dtype = float_type("inputs", inputs);
    batch.weights = data_of(weights);
    batch.weights_dtype = float_type("weights", weights);
    batch.biases = data_of(biases);
    batch.biases_dtype = biased ? float_type("biases", biases) : SSL_DTYPE_FLOAT32;
    batch.sample_weights = data_of(sample_weights);
    return batch;
  }

  ssl_candidates candidates(int64_t num_sampled, int64_t num_true) const {
    ssl_candidates candidates;
    SSL_INIT(candidates);
    candidates.source = SSL_CANDIDATES_GIVEN;
    candidates.ids = words_of<int64_t>("sampled_candidates", ids, {num_sampled});
    set_counts(candidates, true_count, {num_rows(), num_true}, sampled_count, num_sampled);
    return candidates;
  }
};

}  // namespace sampled_softmax::jax

#endif
