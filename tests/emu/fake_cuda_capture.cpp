// Stream capture: which calls it forbids to whom, how it spreads to other streams, and how it ends.
#include <atomic>

#include "fake_cuda.h"

namespace fake {

namespace {

enum { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };
std::set<std::shared_ptr<Capture>> captures;
thread_local int thread_mode = GLOBAL;

uint64_t this_thread() {
    static std::atomic<uint64_t> next{1};
    static thread_local uint64_t id = next++;
    return id;
}

int status(const Stream* stream) { return !stream->capture ? 0 : stream->capture->invalidated ? 2 : 1; }

int info(void* handle, int* out_status, uint64_t* id, void** graph, const void** dependencies,
         size_t* count) {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (legacy_is_blocked(stream)) return CAPTURE_IMPLICIT;
    *out_status = status(stream);
    if (dependencies) *dependencies = nullptr;
    if (count) *count = 0;
    if (!stream->capture) return 0;
    if (id) *id = stream->capture->id;
    if (graph) *graph = stream->capture->graph;
    return 0;
}

int begin(void* handle, int mode) {
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream == stream->context->legacy.get())
        return complain(CAPTURE_UNSUPPORTED, "the legacy stream cannot be captured");
    if (stream->capture) return complain(401, "the stream is captured already");
    if (mode < GLOBAL || mode > RELAXED) return complain(INVALID_VALUE, "capture mode %d", mode);
    static uint64_t next = 1;
    auto capture = std::make_shared<Capture>();
    capture->id = next++, capture->mode = mode, capture->thread = this_thread();
    capture->origin = stream, capture->graph = new Graph;
    capture->streams[stream] = {};
    stream->capture = capture;
    captures.insert(capture);
    return 0;
}

// A stream that joined must have been waited for by the origin, up to its last node.
bool is_joined(const Capture& capture) {
    const Reach& origin = capture.streams.at(capture.origin);
    for (auto& [stream, reach] : capture.streams) {
        auto own = reach.find(stream), seen = origin.find(stream);
        if (stream == capture.origin || own == reach.end()) continue;
        if (seen == origin.end() || seen->second < own->second) return false;
    }
    return true;
}

int end(void* handle, void** graph) {
    *graph = nullptr;
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    std::shared_ptr<Capture> capture = stream->capture;
    if (!capture) return complain(401, "the stream is not captured");
    if (capture->origin != stream) return complain(CAPTURE_UNMATCHED, "the capture began on another stream");
    if (capture->mode != RELAXED && capture->thread != this_thread())
        return complain(CAPTURE_WRONG_THREAD, "the capture began on another thread");
    bool joined = is_joined(*capture);
    for (auto& [member, reach] : capture->streams) {
        (void)reach;
        member->capture = nullptr;
    }
    captures.erase(capture);
    if (capture->invalidated || !joined) {
        for (auto& [object, count] : capture->graph->objects) object->release(count);
        delete capture->graph;
        capture->graph = nullptr;
        return capture->invalidated ? (int)CAPTURE_INVALIDATED
                                    : complain(CAPTURE_UNJOINED, "a stream that joined was not waited for");
    }
    return *graph = capture->graph, 0;
}

void merge(Reach& into, const Reach& from) {
    for (auto& [stream, count] : from) into[stream] = std::max(into[stream], count);
}

}  // namespace

void invalidate(Capture& capture) { capture.invalidated = true; }

bool legacy_is_blocked(const Stream* stream) {
    if (stream != stream->context->legacy.get()) return false;
    for (auto& capture : captures)
        for (auto& [member, reach] : capture->streams) {
            (void)reach;
            if (member->blocking && member->context == stream->context) return true;
        }
    return false;
}

// cuda.h at cuThreadExchangeStreamCaptureMode: what a thread may do while captures of its own or of others go
// on.
int refuse_in_capture(const char* name) {
    for (auto& capture : captures) {
        bool own = capture->thread == this_thread();
        bool forbids = thread_mode == GLOBAL
                           ? capture->mode == GLOBAL || (own && capture->mode == THREAD_LOCAL)
                       : thread_mode == THREAD_LOCAL ? own && capture->mode != RELAXED
                                                     : false;
        if (!forbids) continue;
        invalidate(*capture);
        return complain(CAPTURE_UNSUPPORTED, "%s while %s captures", name,
                        own ? "this thread" : "another thread");
    }
    return 0;
}

void capture_record(Stream* stream, Event* event) { event->reach = stream->capture->streams[stream]; }

int capture_wait(Stream* stream, Event* event, unsigned flags) {
    const unsigned EXTERNAL = 1;
    if (stream->capture && !event->capture) {
        if (!event->stream) return 0;  // never recorded: nothing to wait for
        if (flags & EXTERNAL) return 0;
        invalidate(*stream->capture);
        return complain(CAPTURE_ISOLATION,
                        "a captured stream waits for an event recorded outside of the capture");
    }
    if (captures.count(event->capture) == 0)
        return complain(CAPTURED_EVENT, "the event was recorded in a capture that has ended");
    if (stream->capture && stream->capture != event->capture) {
        invalidate(*stream->capture);
        invalidate(*event->capture);
        return complain(CAPTURE_MERGE, "an event of another capture is waited for");
    }
    if (stream == stream->context->legacy.get())
        return complain(CAPTURE_IMPLICIT, "the legacy stream would join a capture");
    stream->capture = event->capture;
    merge(event->capture->streams[stream], event->reach);
    return 0;
}

}  // namespace fake

using namespace fake;

EXPORT int cuStreamBeginCapture_v2(void* stream, int mode) {
    return call("cuStreamBeginCapture_v2", CONTEXT, [&] { return begin(stream, mode); });
}
EXPORT int cuStreamEndCapture(void* stream, void** graph) {
    return call("cuStreamEndCapture", CONTEXT, [&] { return end(stream, graph); });
}
EXPORT int cuStreamIsCapturing(void* handle, int* out) {
    return call("cuStreamIsCapturing", CONTEXT, [&] {
        Stream* stream = stream_of(handle);
        if (!stream) return (int)INVALID_HANDLE;
        if (legacy_is_blocked(stream)) return (int)CAPTURE_IMPLICIT;
        return *out = status(stream), 0;
    });
}
EXPORT int cuStreamGetCaptureInfo_v2(void* stream, int* status, uint64_t* id, void** graph,
                                     const void** nodes, size_t* count) {
    return call("cuStreamGetCaptureInfo_v2", CONTEXT,
                [&] { return info(stream, status, id, graph, nodes, count); });
}
EXPORT int cuStreamGetCaptureInfo_v3(void* stream, int* status, uint64_t* id, void** graph,
                                     const void** nodes, const void** edges, size_t* count) {
    return call("cuStreamGetCaptureInfo_v3", CONTEXT, [&] {
        if (edges) *edges = nullptr;
        return info(stream, status, id, graph, nodes, count);
    });
}
EXPORT int cuThreadExchangeStreamCaptureMode(int* mode) {
    return call("cuThreadExchangeStreamCaptureMode", INITIALISED, [&] {
        if (*mode < GLOBAL || *mode > RELAXED) return complain(INVALID_VALUE, "capture mode %d", *mode);
        return std::swap(*mode, thread_mode), 0;
    });
}
