// The CUDA handlers for JAX, called as XLA calls them, over a library that says what it
// was asked: engine, device, stream, pointers and workspace must be the frame's. That
// library is this program itself, linked with -rdynamic.
//
// Usage: jax_cuda_handlers libsampled_softmax_jax.so

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "jax_cuda_frames.h"
#include "sampled_softmax.h"

namespace {

constexpr int64_t C = 20, S = 4, N = 3, D = 5, CAPACITY = 7;
const std::vector<int64_t> kConfig = {C, S, 1, SSL_SAMPLER_CALLER, SSL_SAMPLING_REPLACEMENT, 0, 0, 0, 2, 77, 0, 0, 0};

int handle;
float inputs[N * D], weights[C * D], loss[N], upstream[N], counts[N + S], d_inputs[N * D], d_weights[CAPACITY * D];
int32_t labels[N];
uint64_t ids[S], log_sum_exp[N], row_ids[CAPACITY], num_rows[1], step[1] = {0x123456789};
char workspace[640];

void say(const char* call, void* memory, size_t size, void* stream) {
  printf("%s workspace %d %zu stream %d\n", call, memory == workspace, size, stream == kStream);
}

}  // namespace

ssl_status ssl_create(const ssl_config* config, ssl_handle** out) {
  printf("create backend %u device %d threads %u seed %llu\n", config->backend, config->device, config->num_threads,
         static_cast<unsigned long long>(config->seed));
  *out = reinterpret_cast<ssl_handle*>(&handle);
  return SSL_STATUS_OK;
}

ssl_status ssl_forward(ssl_handle*, const ssl_batch* batch, const ssl_candidates* candidates, const ssl_loss* out,
                   void* memory, size_t size, void* stream) {
  say("forward", memory, size, stream);
  const bool right = batch->inputs == inputs && batch->weights == weights && batch->biases == nullptr &&
                     batch->labels == labels && batch->sample_weights == nullptr && batch->num_rows == N &&
                     candidates->ids == reinterpret_cast<int64_t*>(ids) && candidates->source == SSL_CANDIDATES_GIVEN &&
                     out->loss == loss && out->log_sum_exp == reinterpret_cast<double*>(log_sum_exp);
  printf("pointers %d\n", right);
  return SSL_STATUS_OK;
}

ssl_status ssl_backward(ssl_handle*, const ssl_batch*, const ssl_candidates*, const ssl_loss* given,
                    const ssl_gradients* out, void* memory, size_t size, void* stream) {
  say("backward", memory, size, stream);
  const bool right = given->log_sum_exp == reinterpret_cast<double*>(log_sum_exp) && out->grad_output == upstream &&
                     out->d_inputs == d_inputs && out->d_weights == d_weights && out->d_biases == nullptr &&
                     out->row_ids == reinterpret_cast<int64_t*>(row_ids) &&
                     out->num_rows == reinterpret_cast<int64_t*>(num_rows) && out->row_capacity == CAPACITY;
  printf("pointers %d\n", right);
  return SSL_STATUS_OK;
}

ssl_status ssl_forward_backward(ssl_handle*, const ssl_batch*, const ssl_candidates*, const ssl_loss*,
                            const ssl_gradients*, void* memory, size_t size, void* stream) {
  say("forward_backward", memory, size, stream);
  return SSL_STATUS_DEVICE_LOST;
}

ssl_status ssl_sample(ssl_handle*, const ssl_batch* batch, const ssl_candidates* candidates, void* stream) {
  printf("sample labels %d step %#llx pointer %d stream %d\n", batch->labels == labels,
         static_cast<unsigned long long>(candidates->step), candidates->step_pointer == step, stream == kStream);
  return SSL_STATUS_OK;
}

// A CPU engine's business: the CUDA handlers have their workspace from XLA.
ssl_status ssl_workspace_size(const ssl_handle*, const ssl_batch*, size_t*, size_t*) {
  printf("workspace_size\n");
  return SSL_STATUS_OK;
}

ssl_status ssl_destroy(ssl_handle*) { return SSL_STATUS_OK; }

size_t ssl_last_error(char* buffer, size_t size) {
  if (buffer != nullptr) snprintf(buffer, size, "the device is gone");
  return strlen("the device is gone");
}

uint32_t ssl_version() { return SSL_ABI_VERSION_MAJOR << 16 | SSL_ABI_VERSION_MINOR << 8; }

namespace {

void add_operands(CallFrame& frame) {
  frame.arg(XLA_FFI_DataType_F32, inputs, {N, D});
  frame.arg(XLA_FFI_DataType_F32, weights, {C, D});
  frame.arg(XLA_FFI_DataType_F32, nullptr, {0});
  frame.arg(XLA_FFI_DataType_S32, labels, {N, 1});
  frame.arg(XLA_FFI_DataType_F32, nullptr, {0});
  frame.arg(XLA_FFI_DataType_U32, ids, {S, 2});
  frame.arg(XLA_FFI_DataType_F32, counts, {N, 1});
  frame.arg(XLA_FFI_DataType_F32, counts + N, {S});
}

// `room` is where the zeros are that the gradient of weights must share memory with.
void add_gradients(CallFrame& frame, void* room) {
  frame.arg(XLA_FFI_DataType_F32, upstream, {N});
  frame.arg(XLA_FFI_DataType_F32, room, {CAPACITY, D});
  frame.arg(XLA_FFI_DataType_F32, nullptr, {0});
  frame.ret(XLA_FFI_DataType_F32, d_inputs, {N, D});
  frame.ret(XLA_FFI_DataType_F32, d_weights, {CAPACITY, D});
  frame.ret(XLA_FFI_DataType_F32, nullptr, {0});
  frame.ret(XLA_FFI_DataType_U32, row_ids, {CAPACITY, 2});
  frame.ret(XLA_FFI_DataType_U32, num_rows, {1, 2});
  frame.ret(XLA_FFI_DataType_U8, workspace, {sizeof workspace});
}

void add_loss(CallFrame& frame) {
  frame.ret(XLA_FFI_DataType_F32, loss, {N});
  frame.ret(XLA_FFI_DataType_U32, log_sum_exp, {N, 2});
}

std::string run_sample(XLA_FFI_Handler* handler, const std::vector<int64_t>& config) {
  CallFrame frame(config);
  frame.arg(XLA_FFI_DataType_S32, labels, {N, 1});
  frame.arg(XLA_FFI_DataType_U32, step, {2});
  frame.ret(XLA_FFI_DataType_U32, ids, {S, 2});
  frame.ret(XLA_FFI_DataType_F32, counts, {N, 1});
  frame.ret(XLA_FFI_DataType_F32, counts + N, {S});
  return frame.run(handler);
}

std::string run_backward(XLA_FFI_Handler* handler, void* room) {
  CallFrame frame(kConfig);
  add_operands(frame);
  frame.arg(XLA_FFI_DataType_U32, log_sum_exp, {N, 2});
  add_gradients(frame, room);
  return frame.run(handler);
}

void answer(const std::string& error) { printf("%s\n", error.empty() ? "ok" : error.c_str()); }

}  // namespace

int main(int, char** arguments) {
  void* shim = dlopen(arguments[1], RTLD_NOW);
  if (shim == nullptr) return fprintf(stderr, "%s\n", dlerror()), 1;
  char message[256];
  auto* bind = reinterpret_cast<int (*)(const char*, char*, size_t)>(dlsym(shim, "sampled_softmax_bind"));
  // An empty path is this program.
  if (!bind("", message, sizeof message)) return fprintf(stderr, "%s\n", message), 1;
  std::map<std::string, XLA_FFI_Handler*> handlers;
  for (const char* name : {"sample", "sample_on_device", "forward", "backward", "forward_backward"}) {
    const std::string symbol = "sampled_softmax_" + std::string(name) + "_cuda";
    handlers[name] = reinterpret_cast<XLA_FFI_Handler*>(dlsym(shim, symbol.c_str()));
    printf("%s command buffer %u\n", name, CallFrame::metadata(handlers[name]).traits);
  }

  answer(run_sample(handlers["sample"], kConfig));
  std::vector<int64_t> philox = kConfig;
  philox.back() = SSL_GENERATOR_PHILOX;
  answer(run_sample(handlers["sample_on_device"], philox));

  CallFrame value(kConfig);
  add_operands(value);
  add_loss(value);
  value.ret(XLA_FFI_DataType_U8, workspace, {sizeof workspace});
  answer(value.run(handlers["forward"]));

  answer(run_backward(handlers["backward"], d_weights));
  answer(run_backward(handlers["backward"], weights));

  CallFrame both(kConfig);
  add_operands(both);
  add_loss(both);
  add_gradients(both, d_weights);
  answer(both.run(handlers["forward_backward"]));

  CallFrame other(std::vector<int64_t>{C, S, 1});
  add_operands(other);
  add_loss(other);
  other.ret(XLA_FFI_DataType_U8, workspace, {sizeof workspace});
  answer(other.run(handlers["forward"]));

  CallFrame misshapen(kConfig);
  add_operands(misshapen);
  misshapen.ret(XLA_FFI_DataType_F32, loss, {N + 1});
  misshapen.ret(XLA_FFI_DataType_U32, log_sum_exp, {N, 2});
  misshapen.ret(XLA_FFI_DataType_U8, workspace, {sizeof workspace});
  answer(misshapen.run(handlers["forward"]));

  CallFrame few(kConfig);
  few.arg(XLA_FFI_DataType_F32, inputs, {N, D});
  add_loss(few);
  few.ret(XLA_FFI_DataType_U8, workspace, {sizeof workspace});
  answer(few.run(handlers["forward"]));
  return 0;
}
