// Copies and fills, on a stream or at once.
#include <cstring>

#include "fake_cuda.h"

namespace fake {

namespace {

enum Direction { TO_DEVICE, TO_HOST, ON_DEVICE };

int check_copy(Address to, Address from, size_t bytes, Direction direction) {
    int code = direction != TO_HOST ? check_device_range("destination", to, bytes) : 0;
    return code ? code : direction != TO_DEVICE ? check_device_range("source", from, bytes) : 0;
}

Node copy_node(Address to, Address from, size_t bytes, Direction direction) {
    return {MEMCPY_NODE, emu::text("copy of %zu bytes", bytes), [=] {
                // Looked at again: what a deferred copy or a graph touches may be gone by now.
                if (int code = check_copy(to, from, bytes, direction)) return code;
                Access access;
                memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
                return 0;
            }};
}

int copy_async(Address to, Address from, size_t bytes, Direction direction, void* handle) {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (int code = check_copy(to, from, bytes, direction)) return code;
    Address host = direction == TO_DEVICE ? from : to;
    bool pageable =
        direction != ON_DEVICE && !is_pinned(reinterpret_cast<void*>(host)) && !settings().pageable;
    if (stream->capture && pageable) {
        invalidate(*stream->capture);
        return complain(CAPTURE_UNSUPPORTED, "a copy of memory that is not pinned is captured");
    }
    Node node = copy_node(to, from, bytes, direction);
    if (pageable && direction == TO_DEVICE && settings().defer) {
        // The driver has taken a copy of pageable memory when the call returns.
        auto staged = std::make_shared<std::vector<char>>(bytes);
        memcpy(staged->data(), reinterpret_cast<const void*>(from), bytes);
        node.run = [=] {
            if (int code = check_device_range("destination", to, bytes)) return code;
            Access access;
            memcpy(reinterpret_cast<void*>(to), staged->data(), bytes);
            return 0;
        };
    }
    int code = submit(stream, std::move(node));
    return code || !pageable || direction != TO_HOST ? code : drain(stream);
}

int copy_now(Address to, Address from, size_t bytes, Direction direction) {
    if (int code = check_copy(to, from, bytes, direction)) return code;
    if (int code = drain(current()->legacy.get())) return code;
    return copy_node(to, from, bytes, direction).run();
}

template <class T> int fill(Address to, T value, size_t count, Stream* stream) {
    if (!stream) return INVALID_HANDLE;
    if (to % sizeof(T)) return complain(INVALID_VALUE, "0x%llx is no multiple of %zu", to, sizeof(T));
    if (int code = check_device_range("destination", to, count * sizeof(T))) return code;
    return submit(stream, {MEMSET_NODE, "fill", [=] {
                               if (int code = check_device_range("destination", to, count * sizeof(T)))
                                   return code;
                               Access access;
                               for (size_t i = 0; i < count; i++) reinterpret_cast<T*>(to)[i] = value;
                               return 0;
                           }});
}

Address address(const void* p) { return reinterpret_cast<Address>(p); }

}  // namespace

}  // namespace fake

using namespace fake;

EXPORT int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void* stream) {
    return call("cuMemcpyHtoDAsync_v2", CONTEXT,
                [&] { return copy_async(to, address(from), bytes, TO_DEVICE, stream); });
}
EXPORT int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void* stream) {
    return call("cuMemcpyDtoHAsync_v2", CONTEXT,
                [&] { return copy_async(address(to), from, bytes, TO_HOST, stream); });
}
EXPORT int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void* stream) {
    return call("cuMemcpyDtoDAsync_v2", CONTEXT,
                [&] { return copy_async(to, from, bytes, ON_DEVICE, stream); });
}
EXPORT int cuMemcpyHtoD_v2(Address to, const void* from, size_t bytes) {
    return call("cuMemcpyHtoD_v2", CONTEXT | NO_CAPTURE,
                [&] { return copy_now(to, address(from), bytes, TO_DEVICE); });
}
EXPORT int cuMemcpyDtoH_v2(void* to, Address from, size_t bytes) {
    return call("cuMemcpyDtoH_v2", CONTEXT | NO_CAPTURE,
                [&] { return copy_now(address(to), from, bytes, TO_HOST); });
}
EXPORT int cuMemcpyDtoD_v2(Address to, Address from, size_t bytes) {
    return call("cuMemcpyDtoD_v2", CONTEXT | NO_CAPTURE,
                [&] { return copy_now(to, from, bytes, ON_DEVICE); });
}
EXPORT int cuMemsetD8Async(Address to, unsigned char value, size_t count, void* stream) {
    return call("cuMemsetD8Async", CONTEXT, [&] { return fill(to, value, count, stream_of(stream)); });
}
EXPORT int cuMemsetD32Async(Address to, unsigned value, size_t count, void* stream) {
    return call("cuMemsetD32Async", CONTEXT, [&] { return fill(to, value, count, stream_of(stream)); });
}
EXPORT int cuMemsetD8_v2(Address to, unsigned char value, size_t count) {
    return call("cuMemsetD8_v2", CONTEXT | NO_CAPTURE,
                [&] { return fill(to, value, count, current()->legacy.get()); });
}
EXPORT int cuMemsetD32_v2(Address to, unsigned value, size_t count) {
    return call("cuMemsetD32_v2", CONTEXT | NO_CAPTURE,
                [&] { return fill(to, value, count, current()->legacy.get()); });
}
