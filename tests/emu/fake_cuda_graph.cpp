// Graphs: what a capture recorded, instantiated and replayed in the order it was submitted in; user objects.
#include "fake_cuda.h"

namespace fake {

namespace {

std::set<GraphExec*> execs;

void retain_all(Graph& graph) {
    for (auto& [object, count] : graph.objects) object->references += count;
}
void release_all(Graph& graph) {
    for (auto& [object, count] : graph.objects) object->release(count);
}

int instantiate(void** out, void* handle) {
    auto graph = static_cast<Graph*>(handle);
    if (!graph) return complain(INVALID_VALUE, "no graph");
    auto exec = new GraphExec{*graph, current()};
    retain_all(exec->graph);
    execs.insert(exec);
    return *out = exec, 0;
}

GraphExec* exec_of(void* handle) {
    auto exec = static_cast<GraphExec*>(handle);
    if (execs.count(exec)) return exec;
    complain(INVALID_HANDLE, "%p is no instantiated graph", handle);
    return nullptr;
}

}  // namespace

void UserObject::release(unsigned count) {
    if (count > references) {
        complain(INVALID_VALUE, "a user object is released more often than it was retained");
        return;
    }
    references -= count;
    if (references) return;
    run_host_function(destroy, value);
    delete this;
}

}  // namespace fake

using namespace fake;

EXPORT int cuGraphCreate(void** graph, unsigned) {
    return call("cuGraphCreate", INITIALISED, [&] { return *graph = new Graph, 0; });
}
EXPORT int cuGraphDestroy(void* handle) {
    return call("cuGraphDestroy", INITIALISED, [&] {
        auto graph = static_cast<Graph*>(handle);
        if (!graph) return complain(INVALID_VALUE, "no graph");
        release_all(*graph);
        delete graph;
        return 0;
    });
}
EXPORT int cuGraphGetNodes(void* handle, void** nodes, size_t* count) {
    return call("cuGraphGetNodes", INITIALISED, [&] {
        auto graph = static_cast<Graph*>(handle);
        size_t wanted = nodes ? *count : 0;
        *count = graph->nodes.size();
        for (size_t i = 0; i < wanted; i++) nodes[i] = i < *count ? graph->nodes[i].get() : nullptr;
        return 0;
    });
}
EXPORT int cuGraphNodeGetType(void* node, int* type) {
    return call("cuGraphNodeGetType", INITIALISED, [&] { return *type = static_cast<Node*>(node)->type, 0; });
}
EXPORT int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long) {
    return call("cuGraphInstantiateWithFlags", CONTEXT, [&] { return instantiate(exec, graph); });
}
EXPORT int cuGraphInstantiate_v2(void** exec, void* graph, void** node, char* log, size_t bytes) {
    return call("cuGraphInstantiate_v2", CONTEXT, [&] {
        if (node) *node = nullptr;
        if (log && bytes) *log = 0;
        return instantiate(exec, graph);
    });
}
EXPORT int cuGraphUpload(void* exec, void*) {
    return call("cuGraphUpload", CONTEXT, [&] { return exec_of(exec) ? 0 : (int)INVALID_HANDLE; });
}
EXPORT int cuGraphLaunch(void* handle, void* stream_handle) {
    return call("cuGraphLaunch", CONTEXT, [&] {
        GraphExec* exec = exec_of(handle);
        Stream* stream = exec ? stream_of(stream_handle) : nullptr;
        if (!stream) return (int)INVALID_HANDLE;
        for (const auto& node : exec->graph.nodes)
            if (int code = submit(stream, *node)) return code;
        return 0;
    });
}
EXPORT int cuGraphExecDestroy(void* handle) {
    return call("cuGraphExecDestroy", INITIALISED, [&] {
        GraphExec* exec = exec_of(handle);
        if (!exec) return (int)INVALID_HANDLE;
        if (exists(exec->context)) drain_all(exec->context);
        release_all(exec->graph);
        execs.erase(exec);
        delete exec;
        return 0;
    });
}
EXPORT int cuUserObjectCreate(void** out, void* value, void (*destroy)(void*), unsigned references,
                              unsigned flags) {
    return call("cuUserObjectCreate", INITIALISED, [&] {
        if (flags != 1 || !destroy || references == 0)
            return complain(INVALID_VALUE, "flags %u (must be 1), %u references", flags, references);
        return *out = new UserObject{value, destroy, references}, 0;
    });
}
EXPORT int cuUserObjectRetain(void* object, unsigned count) {
    return call("cuUserObjectRetain", INITIALISED,
                [&] { return static_cast<UserObject*>(object)->references += count, 0; });
}
EXPORT int cuUserObjectRelease(void* object, unsigned count) {
    return call("cuUserObjectRelease", INITIALISED,
                [&] { return static_cast<UserObject*>(object)->release(count), 0; });
}
EXPORT int cuGraphRetainUserObject(void* graph, void* handle, unsigned count, unsigned flags) {
    return call("cuGraphRetainUserObject", INITIALISED, [&] {
        const unsigned MOVE = 1;
        auto object = static_cast<UserObject*>(handle);
        if (!(flags & MOVE)) object->references += count;
        else if (object->references < count)
            return complain(INVALID_VALUE, "more references are moved than there are");
        static_cast<Graph*>(graph)->objects[object] += count;
        return 0;
    });
}
EXPORT int cuGraphReleaseUserObject(void* graph, void* handle, unsigned count) {
    return call("cuGraphReleaseUserObject", INITIALISED, [&] {
        auto object = static_cast<UserObject*>(handle);
        static_cast<Graph*>(graph)->objects[object] -= count;
        return object->release(count), 0;
    });
}
