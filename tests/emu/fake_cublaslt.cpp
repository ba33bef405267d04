// A stand-in for libcublasLt.so.13: plain products with sums in float32, put on the fake driver's streams
// like a kernel. Column-major, as cuBLASLt is; what it does not know it refuses.
//
//     FAKE_CUBLASLT_NONE=1         has an algorithm for nothing
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "numbers.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

struct FakeRange {
    const char* name;
    const void* at;
    size_t bytes;
};
// fake_cuda_launch.cpp: runs `work` when the stream gets there, after looking at what it will touch.
extern "C" int fake_cuda_submit(void* stream, const char* what, const FakeRange* ranges, int count,
                                const std::function<void()>& work);

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };
enum { TRANSA = 3, TRANSB = 4 };

struct Operation {
    int compute, scale;
    int transposed[2] = {0, 0};
};
struct Layout {
    int type;
    uint64_t rows, cols;
    int64_t stride;
    size_t element_bytes() const { return type == R_32F ? 4 : 2; }
    size_t bytes() const { return cols ? ((cols - 1) * stride + rows) * element_bytes() : 0; }
};

// As a plain row-major float matrix of op(x): [rows of op, columns of op].
std::vector<float> spread(const void* data, const Layout& x, bool transposed, int compute) {
    std::vector<float> out(x.rows * x.cols);
    for (uint64_t col = 0; col < x.cols; col++)
        for (uint64_t row = 0; row < x.rows; row++) {
            size_t at = col * x.stride + row;
            float value;
            if (x.type == R_32F) value = static_cast<const float*>(data)[at];
            else if (x.type == R_16F) value = emu::of_f16(static_cast<const uint16_t*>(data)[at]);
            else value = emu::of_bf16(static_cast<const uint16_t*>(data)[at]);
            if (compute == COMPUTE_32F_FAST_TF32) value = emu::of_tf32(emu::tf32_of(value));
            out[transposed ? col * x.rows + row : row * x.cols + col] = value;
        }
    return out;
}

struct Sizes {
    uint64_t m, n, k;
};

// False if the shapes do not fit or a type is not known.
bool sizes(const Operation& o, const Layout& a, const Layout& b, const Layout& d, Sizes* out) {
    out->m = o.transposed[0] ? a.cols : a.rows, out->k = o.transposed[0] ? a.rows : a.cols;
    out->n = o.transposed[1] ? b.rows : b.cols;
    bool types = a.type == b.type && d.type == R_32F && o.scale == R_32F &&
                 (o.compute == COMPUTE_32F || (o.compute == COMPUTE_32F_FAST_TF32 && a.type == R_32F)) &&
                 (a.type == R_32F || a.type == R_16F || a.type == R_16BF);
    bool strides = a.stride >= (int64_t)a.rows && b.stride >= (int64_t)b.rows && d.stride >= (int64_t)d.rows;
    return types && strides && (o.transposed[1] ? b.cols : b.rows) == out->k && d.rows == out->m &&
           d.cols == out->n;
}

void multiply(const Operation& o, const Sizes& s, float alpha, float beta, const void* a, const Layout& la,
              const void* b, const Layout& lb, const float* c, const Layout& lc, float* d, const Layout& ld) {
    std::vector<float> left = spread(a, la, o.transposed[0], o.compute),
                       right = spread(b, lb, o.transposed[1], o.compute);
    std::vector<float> row(s.n);
    for (uint64_t i = 0; i < s.m; i++) {
        std::fill(row.begin(), row.end(), 0.f);
        for (uint64_t k = 0; k < s.k; k++)
            for (uint64_t j = 0; j < s.n; j++) row[j] += left[i * s.k + k] * right[k * s.n + j];
        for (uint64_t j = 0; j < s.n; j++)
            d[j * ld.stride + i] = alpha * row[j] + (beta == 0 ? 0.f : beta * c[j * lc.stride + i]);
    }
}

template <class T> T& as(void* handle) { return *static_cast<T*>(handle); }

}  // namespace

EXPORT int cublasLtCreate(void** handle) { return *handle = new int, SUCCESS; }
EXPORT int cublasLtDestroy(void* handle) { return delete static_cast<int*>(handle), SUCCESS; }
EXPORT size_t cublasLtGetVersion() { return 130000; }

EXPORT int cublasLtMatmulDescCreate(void** out, int compute, int scale) {
    return *out = new Operation{compute, scale}, SUCCESS;
}
EXPORT int cublasLtMatmulDescDestroy(void* handle) { return delete static_cast<Operation*>(handle), SUCCESS; }
EXPORT int cublasLtMatmulDescSetAttribute(void* handle, int attribute, const void* value, size_t bytes) {
    if ((attribute != TRANSA && attribute != TRANSB) || bytes != 4) return INVALID_VALUE;
    memcpy(&as<Operation>(handle).transposed[attribute - TRANSA], value, 4);
    return SUCCESS;
}
EXPORT int cublasLtMatrixLayoutCreate(void** out, int type, uint64_t rows, uint64_t cols, int64_t stride) {
    return *out = new Layout{type, rows, cols, stride}, SUCCESS;
}
EXPORT int cublasLtMatrixLayoutDestroy(void* handle) { return delete static_cast<Layout*>(handle), SUCCESS; }
EXPORT int cublasLtMatmulPreferenceCreate(void** out) { return *out = new int, SUCCESS; }
EXPORT int cublasLtMatmulPreferenceDestroy(void* handle) { return delete static_cast<int*>(handle), SUCCESS; }
EXPORT int cublasLtMatmulPreferenceSetAttribute(void*, int, const void* value, size_t bytes) {
    return value && (bytes == 4 || bytes == 8) ? SUCCESS : INVALID_VALUE;
}

// cublasLtMatmulHeuristicResult_t
struct Heuristic {
    uint64_t algorithm[8];
    size_t workspace_bytes;
    int state;
    float waves;
    int reserved[4];
};
EXPORT int cublasLtMatmulAlgoGetHeuristic(void*, void* operation, void* a, void* b, void*, void* d, void*,
                                          int wanted, Heuristic* out, int* count) {
    Sizes s;
    *count = 0;
    const char* none = getenv("FAKE_CUBLASLT_NONE");
    if ((none && atoi(none)) || wanted < 1) return NOT_SUPPORTED;
    if (!sizes(as<Operation>(operation), as<Layout>(a), as<Layout>(b), as<Layout>(d), &s))
        return NOT_SUPPORTED;
    memset(out, 0, sizeof *out);
    *count = 1;
    return SUCCESS;
}
EXPORT int cublasLtMatmul(void*, void* operation, const void* alpha, const void* a, void* a_layout,
                          const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                          void* d, void* d_layout, const void*, void* workspace, size_t workspace_bytes,
                          void* stream) {
    const Operation o = as<Operation>(operation);
    const Layout la = as<Layout>(a_layout), lb = as<Layout>(b_layout), lc = as<Layout>(c_layout),
                 ld = as<Layout>(d_layout);
    Sizes s;
    if (!sizes(o, la, lb, ld, &s)) return NOT_SUPPORTED;
    float alpha_value, beta_value;
    memcpy(&alpha_value, alpha, 4), memcpy(&beta_value, beta, 4);
    const FakeRange ranges[] = {{"A", a, la.bytes()},
                                {"B", b, lb.bytes()},
                                {"C", c, lc.bytes()},
                                {"D", d, ld.bytes()},
                                {"workspace", workspace, workspace_bytes}};
    int code = fake_cuda_submit(stream, "cublasLtMatmul", ranges, workspace_bytes ? 5 : 4, [=] {
        multiply(o, s, alpha_value, beta_value, a, la, b, lb, static_cast<const float*>(c), lc,
                 static_cast<float*>(d), ld);
    });
    return code ? EXECUTION_FAILED : SUCCESS;
}
