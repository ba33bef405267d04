// For tests of the fake driver: what they call of it, and each test in a process of its own with the
// environment it names, because the driver reads that once.
#pragma once
#include <sys/wait.h>

#include "check.h"

using Address = unsigned long long;
extern "C" {
int cuInit(unsigned);
int cuDeviceGetCount(int*);
int cuDeviceGetAttribute(int*, int, int);
int cuDevicePrimaryCtxRetain(void**, int);
int cuDevicePrimaryCtxRelease_v2(int);
int cuCtxPushCurrent_v2(void*);
int cuCtxPopCurrent_v2(void**);
int cuCtxGetCurrent(void**);
int cuCtxCreate_v2(void**, unsigned, int);
int cuMemAlloc_v2(Address*, size_t);
int cuMemFree_v2(Address);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemFreeHost(void*);
int cuMemcpyHtoD_v2(Address, const void*, size_t);
int cuMemcpyDtoH_v2(void*, Address, size_t);
int cuMemcpyHtoDAsync_v2(Address, const void*, size_t, void*);
int cuMemcpyDtoHAsync_v2(void*, Address, size_t, void*);
int cuMemsetD8Async(Address, unsigned char, size_t, void*);
int cuMemsetD32Async(Address, unsigned, size_t, void*);
int cuPointerGetAttribute(void*, int, Address);
int cuStreamCreate(void**, unsigned);
int cuStreamDestroy_v2(void*);
int cuStreamSynchronize(void*);
int cuStreamGetCtx(void*, void**);
int cuStreamWaitEvent(void*, void*, unsigned);
int cuStreamBeginCapture_v2(void*, int);
int cuStreamEndCapture(void*, void**);
int cuStreamIsCapturing(void*, int*);
int cuStreamGetCaptureInfo_v2(void*, int*, uint64_t*, void**, const void**, size_t*);
int cuThreadExchangeStreamCaptureMode(int*);
int cuLaunchHostFunc(void*, void (*)(void*), void*);
int cuEventCreate(void**, unsigned);
int cuEventRecord(void*, void*);
int cuEventQuery(void*);
int cuEventDestroy_v2(void*);
int cuGraphInstantiateWithFlags(void**, void*, unsigned long long);
int cuGraphLaunch(void*, void*);
int cuGraphDestroy(void*);
int cuGraphExecDestroy(void*);
int cuUserObjectCreate(void**, void*, void (*)(void*), unsigned, unsigned);
int cuGraphRetainUserObject(void*, void*, unsigned, unsigned);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuModuleUnload(void*);
int cuFuncGetParamInfo(void*, size_t, size_t*, size_t*);
int cuFuncSetAttribute(void*, int, int);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                   void**);
int cuGetErrorName(int, const char**);
}

// Runs `body` in a child with stderr kept; true if it ended as it should and said `words`.
inline bool in_child(const std::vector<std::pair<const char*, const char*>>& environment,
                     const std::function<void()>& body, const char* words, bool aborts, std::string* said) {
    int ends[2];
    if (pipe(ends)) return false;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        for (auto& [name, value] : environment) setenv(name, value, 1);
        dup2(ends[1], 2);
        close(ends[0]);
        int before = emu::failures;
        body();
        _exit(emu::failures > before ? 1 : 0);
    }
    close(ends[1]);
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) said->append(buffer, n);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    bool ended = aborts ? WIFSIGNALED(status) && (WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGSEGV)
                        : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return ended && said->find(words) != std::string::npos && (*words || said->empty());
}

using Environment = std::vector<std::pair<const char*, const char*>>;
inline void silent(const Environment& environment, const std::function<void()>& body) {
    std::string said;
    CHECK(in_child(environment, body, "", false, &said), "%s", said.c_str());
}
// The driver complains in these words; the program goes on.
inline void loud(const char* words, const Environment& environment, const std::function<void()>& body) {
    std::string said;
    CHECK(in_child(environment, body, words, false, &said), "wanted \"%s\", got: %s", words, said.c_str());
}
inline void fatal(const char* words, const Environment& environment, const std::function<void()>& body) {
    std::string said;
    CHECK(in_child(environment, body, words, true, &said), "wanted \"%s\" and an abort, got: %s", words,
          said.c_str());
}

inline void check_code(int got, int wanted, const char* call, int line) {
    CHECK(got == wanted, "line %d: %s gives %d, not %d", line, call, got, wanted);
}
#define GIVES(code, ...) check_code((__VA_ARGS__), code, #__VA_ARGS__, __LINE__)
#define DONE(...) GIVES(0, __VA_ARGS__)

inline void* start() {
    void* context;
    DONE(cuInit(0));
    DONE(cuDevicePrimaryCtxRetain(&context, 0));
    DONE(cuCtxPushCurrent_v2(context));
    return context;
}
inline void stop() {
    void* context;
    DONE(cuCtxPopCurrent_v2(&context));
    DONE(cuDevicePrimaryCtxRelease_v2(0));
}
inline Address allocate(size_t bytes) {
    Address at = 0;
    DONE(cuMemAlloc_v2(&at, bytes));
    return at;
}
inline void* make_stream() {
    void* stream = nullptr;
    DONE(cuStreamCreate(&stream, 1));
    return stream;
}
