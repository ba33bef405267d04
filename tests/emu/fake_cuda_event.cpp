// Events: marks on a stream, within a capture or outside.
#include <chrono>

#include "fake_cuda.h"

namespace fake {

namespace {

std::set<Event*> events;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Event* event_of(void* handle) {
    auto event = static_cast<Event*>(handle);
    if (events.count(event)) return event;
    complain(INVALID_HANDLE, "%p is no event", handle);
    return nullptr;
}

int refuse_captured(Event* event) {
    return event->capture ? complain(CAPTURED_EVENT, "the event was recorded in a capture") : 0;
}

}  // namespace

int drain_event(Event* event) {
    while (event->done < event->recorded && !event->stream->queue.empty()) {
        Node node = std::move(event->stream->queue.front());
        event->stream->queue.pop_front();
        if (int code = node.run()) return code;
    }
    return event->context->lost;
}

}  // namespace fake

using namespace fake;

EXPORT int cuEventCreate(void** out, unsigned flags) {
    return call("cuEventCreate", CONTEXT, [&] {
        auto event = new Event;
        event->context = current(), event->timing = !(flags & 2);
        current()->events++;
        events.insert(event);
        return *out = event, 0;
    });
}
EXPORT int cuEventDestroy_v2(void* handle) {
    return call("cuEventDestroy_v2", CONTEXT, [&] {
        Event* event = event_of(handle);
        if (!event) return (int)INVALID_HANDLE;
        if (event->stream && !event->capture) drain_event(event);
        event->context->events--;
        events.erase(event);
        delete event;
        return 0;
    });
}
EXPORT int cuEventRecord(void* handle, void* stream_handle) {
    return call("cuEventRecord", CONTEXT, [&] {
        Event* event = event_of(handle);
        Stream* stream = event ? stream_of(stream_handle) : nullptr;
        if (!stream) return (int)INVALID_HANDLE;
        if (event->context != stream->context)
            return complain(INVALID_HANDLE, "event and stream are of different contexts");
        event->capture = stream->capture;
        if (stream->capture) return capture_record(stream, event), 0;
        event->stream = stream;
        uint64_t count = ++event->recorded;
        return submit(stream,
                      {EVENT_NODE, "event", [=] { return event->done = count, event->time = now(), 0; }});
    });
}
EXPORT int cuEventRecordWithFlags(void* event, void* stream, unsigned) {
    return cuEventRecord(event, stream);
}
EXPORT int cuEventQuery(void* handle) {
    return call("cuEventQuery", CONTEXT | NO_CAPTURE, [&] {
        Event* event = event_of(handle);
        if (!event) return (int)INVALID_HANDLE;
        if (int code = refuse_captured(event)) return code;
        return event->done < event->recorded ? (int)NOT_READY : 0;
    });
}
EXPORT int cuEventSynchronize(void* handle) {
    return call("cuEventSynchronize", CONTEXT | NO_CAPTURE, [&] {
        Event* event = event_of(handle);
        if (!event) return (int)INVALID_HANDLE;
        if (int code = refuse_captured(event)) return code;
        return event->stream ? drain_event(event) : 0;
    });
}
EXPORT int cuEventElapsedTime(float* milliseconds, void* from, void* to) {
    return call("cuEventElapsedTime", CONTEXT, [&] {
        Event *first = event_of(from), *second = event_of(to);
        if (!first || !second) return (int)INVALID_HANDLE;
        if (!first->timing || !second->timing || !first->recorded || !second->recorded)
            return complain(INVALID_HANDLE, "an event without timing, or never recorded");
        if (first->done < first->recorded || second->done < second->recorded) return (int)NOT_READY;
        return *milliseconds = (float)((second->time - first->time) * 1e3), 0;
    });
}
EXPORT int cuStreamWaitEvent(void* stream_handle, void* handle, unsigned flags) {
    return call("cuStreamWaitEvent", CONTEXT, [&] {
        Event* event = event_of(handle);
        Stream* stream = event ? stream_of(stream_handle) : nullptr;
        if (!stream) return (int)INVALID_HANDLE;
        if (stream->capture || event->capture) return capture_wait(stream, event, flags);
        if (!event->stream) return 0;
        uint64_t count = event->recorded;
        return submit(stream,
                      {EVENT_NODE, "wait", [=] { return event->done < count ? drain_event(event) : 0; }});
    });
}
