// Streams: work is run when it is submitted, or, deferred, when something waits for it. Host functions.
#include <thread>

#include "fake_cuda.h"

namespace fake {

namespace {

// Alone on its stream; in the driver others may come in meanwhile.
int run_now(Stream* stream, const Node& node) {
    if (stream->context->lost) return stream->context->lost;
    int code;
    lock.unlock();
    {
        std::lock_guard guard(stream->running);
        code = node.run();
    }
    lock.lock();
    return code;
}

int drain_legacy_peers(Stream* stream) {
    Context* context = stream->context;
    int code = 0;
    if (stream == context->legacy.get()) {
        for (Stream* other : context->streams)
            if (other->blocking)
                if (int failed = drain(other)) code = failed;
    } else if (stream->blocking) {
        code = drain(context->legacy.get());
    }
    return code;
}

struct ThreadStreams {
    std::map<Context*, Stream> all;
};
thread_local ThreadStreams per_thread;

int make_stream(void** out, unsigned flags) {
    if (flags > 1) return complain(INVALID_VALUE, "stream flags %u", flags);
    auto stream = new Stream;
    stream->context = current(), stream->blocking = flags == 0;
    current()->streams.insert(stream);
    return *out = stream, 0;
}

}  // namespace

Stream* stream_of(void* handle) {
    auto number = reinterpret_cast<uintptr_t>(handle);
    if (number <= 1) return current()->legacy.get();
    if (number == 2) {
        Stream& stream = per_thread.all[current()];
        stream.context = current(), stream.blocking = true;
        return &stream;
    }
    auto stream = static_cast<Stream*>(handle);
    if (current()->streams.count(stream)) return stream;
    for (int device = 0; device < settings().devices; device++)
        if (primary(device)->streams.count(stream)) {
            complain(INVALID_HANDLE, "stream %p is of device %d, the current context of device %d", handle,
                     device, current()->device);
            return nullptr;
        }
    complain(INVALID_HANDLE, "%p is no stream of the current context", handle);
    return nullptr;
}

int submit(Stream* stream, Node node) {
    if (stream->capture) {
        Capture& capture = *stream->capture;
        if (capture.invalidated) return CAPTURE_INVALIDATED;
        capture.graph->nodes.push_back(std::make_shared<Node>(std::move(node)));
        capture.streams[stream][stream] = capture.graph->nodes.size();
        return 0;
    }
    if (legacy_is_blocked(stream))
        return complain(CAPTURE_IMPLICIT, "work on the legacy stream while a blocking stream is captured");
    if (!settings().defer) return run_now(stream, node);
    if (int code = drain_legacy_peers(stream)) return code;
    stream->queue.push_back(std::move(node));
    return 0;
}

// Deferred work runs with the driver's lock held: the order of streams is then the order of waiting.
int drain(Stream* stream) {
    while (!stream->queue.empty() && !stream->context->lost) {
        Node node = std::move(stream->queue.front());
        stream->queue.pop_front();
        std::lock_guard guard(stream->running);
        if (int code = node.run()) return code;
    }
    std::lock_guard guard(stream->running);  // until another thread's work on it is done
    return stream->context->lost;
}

int drain_all(Context* context) {
    int code = drain(context->legacy.get());
    for (Stream* stream : std::set<Stream*>(context->streams))
        if (int failed = drain(stream)) code = failed;
    for (auto& [owner, stream] : per_thread.all)
        if (owner == context)
            if (int failed = drain(&stream)) code = failed;
    return code;
}

int run_host_function(void (*function)(void*), void* argument) {
    // On a thread of the driver's, where nothing may call CUDA.
    std::thread([=] {
        in_host_function = true;
        function(argument);
    }).join();
    return 0;
}

}  // namespace fake

using namespace fake;

EXPORT int cuStreamCreate(void** stream, unsigned flags) {
    return call("cuStreamCreate", CONTEXT, [&] { return make_stream(stream, flags); });
}
EXPORT int cuStreamCreateWithPriority(void** stream, unsigned flags, int) {
    return call("cuStreamCreateWithPriority", CONTEXT, [&] { return make_stream(stream, flags); });
}
EXPORT int cuStreamDestroy_v2(void* handle) {
    return call("cuStreamDestroy_v2", CONTEXT, [&] {
        Stream* stream = stream_of(handle);
        if (!stream || reinterpret_cast<uintptr_t>(handle) <= 2) return (int)INVALID_HANDLE;
        if (stream->capture)
            return complain(CAPTURE_UNSUPPORTED, "a stream is destroyed while it is captured");
        int code = drain(stream);
        current()->streams.erase(stream);
        delete stream;
        return code;
    });
}
EXPORT int cuStreamSynchronize(void* handle) {
    return call("cuStreamSynchronize", CONTEXT, [&] {
        Stream* stream = stream_of(handle);
        if (!stream) return (int)INVALID_HANDLE;
        if (stream->capture) {
            invalidate(*stream->capture);
            return complain(CAPTURE_UNSUPPORTED, "a stream is waited for while it is captured");
        }
        if (int code = refuse_in_capture("cuStreamSynchronize")) return code;
        int code = stream == current()->legacy.get() ? drain_legacy_peers(stream) : 0;
        return code ? code : drain(stream);
    });
}
EXPORT int cuStreamQuery(void* handle) {
    return call("cuStreamQuery", CONTEXT | NO_CAPTURE, [&] {
        Stream* stream = stream_of(handle);
        if (!stream) return (int)INVALID_HANDLE;
        return stream->queue.empty() ? 0 : (int)NOT_READY;
    });
}
EXPORT int cuStreamGetCtx(void* handle, void** context) {
    return call("cuStreamGetCtx", CONTEXT, [&] {
        if (reinterpret_cast<uintptr_t>(handle) <= 2) return *context = current(), 0;
        auto stream = static_cast<Stream*>(handle);
        return *context = stream->context, exists(stream->context) ? 0 : (int)CONTEXT_IS_DESTROYED;
    });
}
EXPORT int cuStreamGetFlags(void* handle, unsigned* flags) {
    return call("cuStreamGetFlags", CONTEXT, [&] {
        Stream* stream = stream_of(handle);
        if (!stream) return (int)INVALID_HANDLE;
        return *flags = !stream->blocking, 0;
    });
}
EXPORT int cuLaunchHostFunc(void* handle, void (*function)(void*), void* argument) {
    return call("cuLaunchHostFunc", CONTEXT, [&] {
        Stream* stream = stream_of(handle);
        if (!stream || !function) return complain(INVALID_VALUE, "no stream or no function");
        return submit(stream,
                      {HOST_NODE, "host function", [=] { return run_host_function(function, argument); }});
    });
}
