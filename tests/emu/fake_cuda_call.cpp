// What every entry point goes through: settings, log, injected failures, and the rules of when it may be
// called.
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "fake_cuda.h"

namespace fake {

std::recursive_mutex lock;
thread_local bool in_host_function = false;

namespace {

struct Injected {
    std::string name;
    uint64_t at;
    int code;
};

int number(const char* name, int otherwise) {
    const char* text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

// "name:n=code,...", as fake_cuda.h has it
std::vector<Injected> read_failures(const char* text) {
    std::vector<Injected> all;
    std::stringstream list(text ? text : "");
    for (std::string entry; std::getline(list, entry, ',');) {
        size_t colon = entry.find(':'), equals = entry.find('=');
        if (colon == std::string::npos || equals == std::string::npos || equals < colon) {
            fprintf(stderr, "fake CUDA: FAKE_CUDA_FAIL: \"%s\" is not name:n=code\n", entry.c_str());
            abort();
        }
        all.push_back({entry.substr(0, colon), strtoull(entry.c_str() + colon + 1, nullptr, 10),
                       atoi(entry.c_str() + equals + 1)});
    }
    return all;
}

bool is_sticky(int code) {
    return (code >= 700 && code <= 719 && code != LAUNCH_OUT_OF_RESOURCES && code != 704 && code != 705 &&
            code != 708 && code != 711 && code != 712 && code != 713) ||
           code == 214 || code == 220;
}

std::map<std::string, uint64_t> counts, counts_before;  // before the failures were set
std::vector<Injected>& failures() {
    static std::vector<Injected> all = read_failures(getenv("FAKE_CUDA_FAIL"));
    return all;
}
bool is_initialised = false;
std::atomic<bool> is_over = false;
thread_local const char* calling = "";

FILE* log_file() {
    static FILE* file = [] {
        const char* path = getenv("FAKE_CUDA_LOG");
        return path && *path ? fopen(path, "a") : nullptr;
    }();
    return file;
}

int injected(const char* name) {
    uint64_t count = ++counts[name] - counts_before[name];
    for (const Injected& f : failures())
        if ((f.name == name || f.name == "*") && (f.at == count || f.at == 0)) return f.code;
    return 0;
}

int check(const char* name, unsigned needs) {
    if (int code = injected(name)) return is_sticky(code) && current() ? lose(current(), code) : code;
    if ((needs & INITIALISED) && !is_initialised) return complain(NOT_INITIALIZED, "called before cuInit");
    if ((needs & CONTEXT) == CONTEXT) {
        if (!current()) return complain(INVALID_CONTEXT, "no context is current on this thread");
        if (!exists(current()))
            return complain(CONTEXT_IS_DESTROYED, "the current context is destroyed or released");
        if (current()->lost) return current()->lost;
    }
    return (needs & NO_CAPTURE) ? refuse_in_capture(name) : 0;
}

}  // namespace

const Settings& settings() {
    static const Settings all = [] {
        Settings s{};
        s.devices = number("FAKE_CUDA_DEVICES", 1);
        s.arch = number("FAKE_CUDA_ARCH", 90);
        s.memory_mib = number("FAKE_CUDA_MEMORY", 8192);
        s.threads = number("FAKE_CUDA_THREADS", 1);
        s.strict = number("FAKE_CUDA_STRICT", 0);
        s.pageable = number("FAKE_CUDA_PAGEABLE", 0);
        s.hide = number("FAKE_CUDA_HIDE", 0);
        s.defer = number("FAKE_CUDA_DEFER", 0);
        s.mode.seed = number("FAKE_CUDA_SEED", 0);
        s.mode.greedy = s.mode.seed % 2 == 1;
        s.mode.copies = emu::Copies((s.mode.seed + 1) % 3);
        s.mode.os_threads = s.threads;
        return s;
    }();
    return all;
}

bool initialised() { return is_initialised; }
void initialise() {
    if (!is_initialised) on_exit([](int, void*) { is_over = true; }, nullptr);
    is_initialised = true;
}

int complain(int code, const char* format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    fprintf(stderr, "fake CUDA: %s: %s\n", calling, message);
    if (FILE* file = log_file()) fprintf(file, "%s complaint: %s\n", calling, message), fflush(file);
    if (settings().strict) abort();
    return code;
}

int call(const char* name, unsigned needs, const std::function<int()>& body) {
    if (is_over) return DEINITIALIZED;
    const char* outer = calling;
    calling = name;
    int code;
    if (in_host_function) {
        code = complain(NOT_PERMITTED, "called from a host function of a stream or graph");
    } else {
        std::lock_guard guard(lock);
        code = check(name, needs);
        if (!code) code = body();
        if (FILE* file = log_file()) fprintf(file, "%s %d\n", name, code), fflush(file);
    }
    calling = outer;
    return code;
}

}  // namespace fake

// As the real one, the driver answers threads that go on while exit() ends the program: it registers no
// destructor of its own for then.
extern "C" __attribute__((visibility("hidden"))) int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }

// For tests: other failures than FAKE_CUDA_FAIL's, of calls from here on.
EXPORT void fake_cuda_fail(const char* text) {
    std::lock_guard guard(fake::lock);
    fake::failures() = fake::read_failures(text);
    fake::counts_before = fake::counts;
}

// For tests: how often an entry point was called.
EXPORT unsigned long long fake_cuda_calls(const char* name) {
    std::lock_guard guard(fake::lock);
    return fake::counts[name];
}
