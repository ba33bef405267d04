// The fake driver's captures, graphs, host functions and deferred work.
#include "driver_check.h"

TEST(capture_forbids_what_a_driver_forbids) {
    struct Case {
        const char* words;
        std::function<int(void*)> call;
        int code;
    };
    static Address at;
    const Case cases[] = {
        {"cuMemAlloc_v2 while this thread", [](void*) { return cuMemAlloc_v2(&at, 4); }, 900},
        {"cuModuleLoadData while this thread", [](void*) { return cuModuleLoadData((void**)&at, ""); }, 900},
        {"waited for while it is captured", [](void* s) { return cuStreamSynchronize(s); }, 900},
        {"while this thread captures", [](void*) { return cuStreamSynchronize(make_stream()); }, 900},
        {"not pinned", [](void* s) { return cuMemcpyHtoDAsync_v2(at, "abc", 4, s); }, 900},
    };
    for (const Case& c : cases)
        loud(c.words, {}, [&] {
            start();
            at = allocate(4);
            void *stream = make_stream(), *graph;
            DONE(cuStreamBeginCapture_v2(stream, 0));
            GIVES(c.code, c.call(stream));
            int status;
            DONE(cuStreamIsCapturing(stream, &status));
            CHECK(status == 2, "status %d", status);
            GIVES(901, cuStreamEndCapture(stream, &graph));
        });
    loud("another thread captures", {}, [] {
        void* context = start();
        DONE(cuStreamBeginCapture_v2(make_stream(), 0));
        std::thread([&] {
            void* popped;
            cuCtxPushCurrent_v2(context);
            GIVES(900, cuMemAlloc_v2(&at, 4));
            cuCtxPopCurrent_v2(&popped);
        }).join();
    });
    silent({}, [] {
        start();
        DONE(cuStreamBeginCapture_v2(make_stream(), 0));
        int mode = 2;
        DONE(cuThreadExchangeStreamCaptureMode(&mode));
        CHECK(mode == 0, "mode %d", mode);
        allocate(4);
    });
    loud("recorded outside", {}, [] {
        start();
        void *stream = make_stream(), *event;
        DONE(cuEventCreate(&event, 2));
        DONE(cuEventRecord(event, make_stream()));
        DONE(cuStreamBeginCapture_v2(stream, 0));
        GIVES(905, cuStreamWaitEvent(stream, event, 0));
    });
    loud("not waited for", {}, [] {
        start();
        void *stream = make_stream(), *other = make_stream(), *event, *graph;
        at = allocate(4);
        DONE(cuEventCreate(&event, 2));
        DONE(cuStreamBeginCapture_v2(stream, 0));
        DONE(cuEventRecord(event, stream));
        DONE(cuStreamWaitEvent(other, event, 0));
        DONE(cuMemsetD8Async(at, 1, 4, other));
        GIVES(904, cuStreamEndCapture(stream, &graph));
    });
}
TEST(a_graph_replays_what_was_captured_and_keeps_its_objects) {
    silent({}, [] {
        static int drawn = 0, destroyed = 0;
        start();
        void *stream = make_stream(), *other = make_stream(), *fork, *join, *graph, *exec, *object, *pinned;
        uint64_t id;
        int status;
        Address out = allocate(4);
        DONE(cuMemHostAlloc(&pinned, 4, 1));
        static int* slot;
        slot = (int*)pinned;
        DONE(cuEventCreate(&fork, 2));
        DONE(cuEventCreate(&join, 2));
        DONE(cuStreamBeginCapture_v2(stream, 0));
        DONE(cuLaunchHostFunc(stream, [](void*) { *slot = ++drawn; }, nullptr));
        DONE(cuEventRecord(fork, stream));
        DONE(cuStreamWaitEvent(other, fork, 0));
        DONE(cuMemcpyHtoDAsync_v2(out, slot, 4, other));
        DONE(cuEventRecord(join, other));
        DONE(cuStreamWaitEvent(stream, join, 0));
        DONE(cuStreamGetCaptureInfo_v2(stream, &status, &id, &graph, nullptr, nullptr));
        CHECK(status == 1, "status %d", status);
        DONE(cuUserObjectCreate(&object, &destroyed, [](void* p) { ++*(int*)p; }, 1, 1));
        DONE(cuGraphRetainUserObject(graph, object, 1, 1));
        DONE(cuStreamEndCapture(stream, &graph));
        CHECK(drawn == 0, "a captured host function ran");
        DONE(cuGraphInstantiateWithFlags(&exec, graph, 0));
        DONE(cuGraphDestroy(graph));
        for (int i = 1; i <= 3; i++) {
            int got = 0;
            DONE(cuGraphLaunch(exec, stream));
            DONE(cuStreamSynchronize(stream));
            DONE(cuMemcpyDtoH_v2(&got, out, 4));
            CHECK(got == i, "replay %d gives %d", i, got);
        }
        CHECK(destroyed == 0, "destroyed before the graph");
        DONE(cuGraphExecDestroy(exec));
        CHECK(destroyed == 1, "destroyed %d times", destroyed);
    });
}
TEST(host_functions_may_not_call_the_driver) {
    loud("from a host function", {}, [] {
        start();
        DONE(cuLaunchHostFunc(make_stream(), [](void*) { GIVES(800, cuInit(0)); }, nullptr));
    });
}
TEST(deferred_work_runs_when_it_is_waited_for) {
    silent({{"FAKE_CUDA_DEFER", "1"}}, [] {
        start();
        void *first = make_stream(), *second = make_stream(), *event;
        int* pinned;
        DONE(cuMemHostAlloc((void**)&pinned, 8, 0));
        DONE(cuEventCreate(&event, 2));
        Address at = allocate(8);
        pinned[0] = pinned[1] = 0;
        DONE(cuMemsetD32Async(at, 7, 2, first));
        DONE(cuEventRecord(event, first));
        GIVES(600, cuEventQuery(event));
        DONE(cuStreamWaitEvent(second, event, 0));
        DONE(cuMemcpyDtoHAsync_v2(pinned, at, 8, second));
        CHECK(pinned[0] == 0, "ran at once");
        DONE(cuStreamSynchronize(second));
        DONE(cuEventQuery(event));
        CHECK(pinned[0] == 7 && pinned[1] == 7, "%d %d", pinned[0], pinned[1]);
        // Pinned memory is read when the copy runs, so this is the value that arrives.
        pinned[0] = 1;
        DONE(cuMemcpyHtoDAsync_v2(at, pinned, 4, first));
        pinned[0] = 2;
        DONE(cuStreamSynchronize(first));
        DONE(cuMemcpyDtoH_v2(pinned, at, 4));
        CHECK(pinned[0] == 2, "%d", pinned[0]);
    });
}
