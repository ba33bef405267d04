// A call frame of XLA's, made by hand: what a CUDA handler sees of XLA, without a GPU.

#ifndef JAX_CUDA_FRAMES_H
#define JAX_CUDA_FRAMES_H

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "xla/ffi/api/c_api.h"

inline void* const kStream = reinterpret_cast<void*>(0x5eed);
constexpr int32_t kDevice = 3;

struct XLA_FFI_Error {
  XLA_FFI_Error_Code code;
  std::string message;
};

inline const XLA_FFI_Api* fake_api() {
  static XLA_FFI_Api api = {};
  api.struct_size = sizeof api;
  api.XLA_FFI_Error_Create = [](XLA_FFI_Error_Create_Args* args) {
    return new XLA_FFI_Error{args->errc, args->message};
  };
  api.XLA_FFI_Error_GetMessage = [](XLA_FFI_Error_GetMessage_Args* args) {
    args->message = args->error->message.c_str();
  };
  api.XLA_FFI_Error_Destroy = [](XLA_FFI_Error_Destroy_Args* args) { delete args->error; };
  api.XLA_FFI_Stream_Get = [](XLA_FFI_Stream_Get_Args* args) -> XLA_FFI_Error* {
    args->stream = kStream;
    return nullptr;
  };
  api.XLA_FFI_DeviceOrdinal_Get = [](XLA_FFI_DeviceOrdinal_Get_Args* args) -> XLA_FFI_Error* {
    args->device_ordinal = kDevice;
    return nullptr;
  };
  return &api;
}

class CallFrame {
 public:
  explicit CallFrame(std::vector<int64_t> config) : config_(std::move(config)) {
    array_ = {XLA_FFI_DataType_S64, config_.size(), config_.data()};
    // By name, as XLA sorts them.
    attribute("config", XLA_FFI_AttrType_ARRAY, &array_);
    attribute("has_ignore_index", XLA_FFI_AttrType_SCALAR, &scalar_);
    attribute("ignore_index", XLA_FFI_AttrType_SCALAR, &scalar_);
    attribute("unigrams", XLA_FFI_AttrType_STRING, &text_);
  }

  void arg(XLA_FFI_DataType type, void* data, std::vector<int64_t> shape) {
    arg_types_.push_back(XLA_FFI_ArgType_BUFFER);
    args_.push_back(buffer(type, data, std::move(shape)));
  }

  void ret(XLA_FFI_DataType type, void* data, std::vector<int64_t> shape) {
    ret_types_.push_back(XLA_FFI_RetType_BUFFER);
    rets_.push_back(buffer(type, data, std::move(shape)));
  }

  // The handler's answer: empty, or what went wrong.
  std::string run(XLA_FFI_Handler* handler) {
    XLA_FFI_CallFrame frame = empty();
    frame.args = {sizeof frame.args, nullptr, static_cast<int64_t>(args_.size()), arg_types_.data(), args_.data()};
    frame.rets = {sizeof frame.rets, nullptr, static_cast<int64_t>(rets_.size()), ret_types_.data(), rets_.data()};
    frame.attrs = {sizeof frame.attrs, nullptr, static_cast<int64_t>(attrs_.size()),
                   attr_types_.data(), names_.data(), attrs_.data()};
    XLA_FFI_Error* error = handler(&frame);
    if (error == nullptr) return "";
    std::string message = error->message;
    delete error;
    return message;
  }

  static XLA_FFI_Metadata metadata(XLA_FFI_Handler* handler) {
    XLA_FFI_Metadata metadata = {};
    metadata.struct_size = sizeof metadata;
    metadata.api_version.struct_size = sizeof metadata.api_version;
    XLA_FFI_Metadata_Extension extension = {{sizeof extension, XLA_FFI_Extension_Metadata, nullptr}, &metadata};
    XLA_FFI_CallFrame frame = empty();
    frame.extension_start = &extension.extension_base;
    handler(&frame);
    return metadata;
  }

 private:
  static XLA_FFI_CallFrame empty() {
    XLA_FFI_CallFrame frame = {};
    frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
    frame.api = fake_api();
    frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
    return frame;
  }

  void* buffer(XLA_FFI_DataType type, void* data, std::vector<int64_t> shape) {
    shapes_.push_back(std::move(shape));
    buffers_.push_back({sizeof(XLA_FFI_Buffer), nullptr, type, data, static_cast<int64_t>(shapes_.back().size()),
                        shapes_.back().data()});
    return &buffers_.back();
  }

  void attribute(const char* name, XLA_FFI_AttrType type, void* value) {
    spans_.push_back({name, std::string(name).size()});
    names_.push_back(&spans_.back());
    attr_types_.push_back(type);
    attrs_.push_back(value);
  }

  std::vector<int64_t> config_;
  int64_t zero_ = 0;
  XLA_FFI_Array array_;
  XLA_FFI_Scalar scalar_ = {XLA_FFI_DataType_S64, &zero_};
  XLA_FFI_ByteSpan text_ = {"", 0};
  // Deques, since what they hold is pointed to.
  std::deque<std::vector<int64_t>> shapes_;
  std::deque<XLA_FFI_Buffer> buffers_;
  std::deque<XLA_FFI_ByteSpan> spans_;
  std::vector<XLA_FFI_ArgType> arg_types_;
  std::vector<XLA_FFI_RetType> ret_types_;
  std::vector<XLA_FFI_AttrType> attr_types_;
  std::vector<XLA_FFI_ByteSpan*> names_;
  std::vector<void*> args_, rets_, attrs_;
};

#endif
