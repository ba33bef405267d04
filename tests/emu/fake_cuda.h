// A stand-in for libcuda on a machine without a GPU. It answers the driver API, runs the kernels of
// kernels/instances.def on the emulator, and says so loudly when a program does what a driver would punish,
// or would let pass and should not.
// Files: fake_cuda_{call,errors,context,memory,copy,stream,event,capture,graph,module,launch,tensor_map}.cpp.
//
//     FAKE_CUDA_STRICT=1           a complaint ends the program; otherwise it is a message and an error code
//     FAKE_CUDA_DEVICES=2          how many devices there are (1)
//     FAKE_CUDA_ARCH=80            their compute capability (90)
//     FAKE_CUDA_PAGEABLE=1         they reach all host memory, as Grace Hopper does
//     FAKE_CUDA_MEMORY=64          MiB a device has (8192)
//     FAKE_CUDA_HIDE=1             device memory cannot be touched by the host, except by copies
//     FAKE_CUDA_DEFER=1            work runs when something waits for it, not when it is submitted
//     FAKE_CUDA_SEED=3             order of threads and landing of copies (0)
//     FAKE_CUDA_THREADS=2          OS threads for the blocks of a launch (1)
//     FAKE_CUDA_FAIL=cuMemAlloc_v2:3=2,cuLaunchKernel:1=700
//                                  the third allocation and the first launch fail so; * is any function,
//                                  0 every call of it
//     FAKE_CUDA_LOG=path           one line a call
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "guarded_memory.h"
#include "registry.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace fake {

using Address = unsigned long long;
enum Code {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    DEINITIALIZED = 4,  // once exit() has begun
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_OUT_OF_RESOURCES = 701,
    CONTEXT_IS_DESTROYED = 709,
    MISALIGNED_ADDRESS = 716,
    LAUNCH_FAILED = 719,
    NOT_PERMITTED = 800,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_MERGE = 902,
    CAPTURE_UNMATCHED = 903,
    CAPTURE_UNJOINED = 904,
    CAPTURE_ISOLATION = 905,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    CAPTURE_WRONG_THREAD = 908
};

struct Settings {
    int devices, arch, memory_mib, threads;
    bool strict, pageable, hide, defer;
    emu::Mode mode;
};
const Settings& settings();

// Kinds of memory; an allocation's owner is its context's number times four plus its kind.
enum Kind { DEVICE_MEMORY, PINNED_MEMORY, MANAGED_MEMORY };

struct Stream;
struct Context {
    int number, device;
    bool primary;
    int references = 0;
    int lost = 0;  // the error that ended it
    std::set<Stream*> streams;
    std::unique_ptr<Stream> legacy;
    int modules = 0, events = 0;
    Context(int number, int device, bool primary) : number(number), device(device), primary(primary) {}
    int owner(Kind kind) const { return number * 4 + kind; }
};

// A piece of work: of a stream, or of a graph. `type` is a CU_GRAPH_NODE_TYPE_*.
enum NodeType { KERNEL_NODE = 0, MEMCPY_NODE = 1, MEMSET_NODE = 2, HOST_NODE = 3, EVENT_NODE = 7 };
struct Node {
    NodeType type;
    std::string what;
    std::function<int()> run;
};

struct UserObject {
    void* value;
    void (*destroy)(void*);
    unsigned references;
    void release(unsigned count);
};

struct Graph {
    std::vector<std::shared_ptr<Node>> nodes;
    std::map<UserObject*, unsigned> objects;
};
struct GraphExec {
    Graph graph;
    Context* context;
};

// How far into each stream of a capture something reaches.
using Reach = std::map<Stream*, size_t>;
struct Capture {
    uint64_t id;
    int mode;
    uint64_t thread;
    bool invalidated = false;
    Stream* origin;
    Graph* graph;
    std::map<Stream*, Reach> streams;  // what the next node of each would come after
};

struct Event {
    Context* context;
    bool timing;
    uint64_t recorded = 0, done = 0;  // counts of records; done may lag behind while work is deferred
    Stream* stream = nullptr;
    double time = 0;
    std::shared_ptr<Capture> capture;
    Reach reach;
};

struct Stream {
    Context* context;
    bool blocking;  // waits for the legacy stream, and the other way round
    std::deque<Node> queue;
    std::recursive_mutex running;
    std::shared_ptr<Capture> capture;
};

struct Function;
struct Module {
    Context* context;
    std::map<std::string, std::unique_ptr<Function>> functions;
};
struct Function {
    Module* module;
    const emu::Kernel* kernel;
    int max_dynamic_shared = 48 << 10;
};

// ---- call.cpp: what every entry point goes through --------------------------------------------

// NO_CAPTURE: unsafe while something is captured.
enum Needs { NOTHING = 0, INITIALISED = 1, CONTEXT = 3, NO_CAPTURE = 4 };

// Counts and logs the call, injects failures, checks what it `needs`, and runs `body` alone in the driver.
int call(const char* name, unsigned needs, const std::function<int()>& body);
// Says what is wrong and ends the program if it is strict; else gives `code` back.
int complain(int code, const char* format, ...) __attribute__((format(printf, 2, 3)));
extern std::recursive_mutex lock;
extern thread_local bool in_host_function;
bool initialised();
void initialise();

// ---- context, stream, event, capture, memory, module --------------------------------------------

std::vector<Context*>& context_stack();  // of this thread
Context* current();
Context* primary(int device);
bool exists(const Context* context);
Context* numbered(int number);
// Errors 700 and the like stay.
int lose(Context* context, int code);

// NULL, 1 (legacy) and 2 (per thread) included; NULL with a complaint if there is no such stream.
Stream* stream_of(void* handle);
int submit(Stream* stream, Node node);
int drain(Stream* stream);
int drain_all(Context* context);
int drain_event(Event* event);
int run_host_function(void (*function)(void*), void* argument);

// Complains and returns a code if this thread may not make an unsafe call now.
int refuse_in_capture(const char* name);
void invalidate(Capture& capture);
int capture_wait(Stream* stream, Event* event, unsigned flags);
void capture_record(Stream* stream, Event* event);
bool legacy_is_blocked(const Stream* stream);

// Complains if [at, at + bytes) is not memory the device may use.
int check_device_range(const char* argument, Address at, size_t bytes);
bool is_pinned(const void* at);
std::string leaks(Context* context);

// Of a loaded module; NULL with a complaint otherwise.
Function* function_of(void* handle);
// Shared memory a block may have.
int shared_limit();

// While one lives, device memory can be touched: by kernels and copies.
struct Access {
    Access();
    ~Access();
};

}  // namespace fake
