// For tests under the emulator. A test is a file tests/emu/test_<what>.cpp that includes this and the kernels
// it needs, names their instances (INSTANTIATE_...), and holds TEST blocks; `make emu-test` builds and runs
// all, `make emu-test TESTS=<what>` one. main is here.
//
//     #include "check.h"
//     #include "columns.cuh"
//     INSTANTIATE_columns()
//     TEST(first_copy_of_a_repeated_class_has_the_sum) {
//         emu::Array<float> out(64);                    // guarded: reads and writes outside are found
//         ColumnsArgs args = {};
//         SameBits same;
//         for (const emu::Mode& mode : emu::modes()) {  // orders of threads, landing of copies
//             emu::launch("columns", dim3(1), dim3(256), 0, args, mode);
//             same.check(mode, out);
//             CHECK(out[3] == 1.f, "out[3] = %g", out[3]);
//         }
//     }
#pragma once
#include <cstdio>
#include <functional>
#include <vector>

#include "../../kernels/tile.cuh"

namespace emu {

struct Test {
    const char* name;
    void (*run)();
};
inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}
inline int failures = 0;
// With EMU_STOP the first failure ends the program.
inline void count_failure() {
    failures++;
    if (getenv("EMU_STOP")) _exit(1);
}

// Every way to order threads and land copies that a test should see.
inline std::vector<Mode> modes() {
    std::vector<Mode> all;
    for (unsigned seed = 0; seed < 6; seed++) {
        Mode mode;
        mode.seed = seed;
        mode.greedy = seed % 2 == 1;
        mode.copies = Copies(seed % 3);
        all.push_back(mode);
    }
    return all;
}

inline std::string describe(const Mode& mode) {
    const char* copies[] = {"early", "late", "mixed"};
    return text("seed %u, %s, copies %s", mode.seed, mode.greedy ? "greedy" : "in step", copies[mode.copies]);
}

// |a - b| / |b| over whole arrays; NaN if either holds one.
template <class A, class B> double relative_error(const A& a, const B& b) {
    double difference = 0, norm = 0;
    if (a.size() != b.size()) return NAN;
    for (size_t i = 0; i < b.size(); i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

// The kernel must end in an Error that contains `words`.
inline bool refused(const char* words, const std::function<void()>& run, std::string* got) {
    try {
        run();
        *got = "no error";
    } catch (const Error& e) {
        *got = e.what();
    }
    return got->find(words) != std::string::npos;
}

}  // namespace emu

#define TEST(name)                                                                   \
    static void name();                                                              \
    static const bool name##_listed = (emu::tests().push_back({#name, name}), true); \
    static void name()

#define CHECK(condition, ...)                                               \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__);                                   \
            fprintf(stderr, "\n");                                          \
            emu::count_failure();                                           \
        }                                                                   \
    } while (0)

// The error must contain `words`.
#define REFUSED(words, ...)                                                                                 \
    do {                                                                                                    \
        std::string got;                                                                                    \
        CHECK(                                                                                              \
            emu::refused(words, [&] { __VA_ARGS__; }, &got), "wanted \"%s\", got: %s", words, got.c_str()); \
    } while (0)

// What a kernel writes must not depend on the mode: checked bit for bit against the first.
class SameBits {
public:
    template <class Container> void check(const emu::Mode& mode, const Container& values) {
        auto bytes = reinterpret_cast<const unsigned char*>(&*values.begin());
        std::vector<unsigned char> now(bytes, bytes + values.size() * sizeof(values[0]));
        if (first_.empty()) first_ = now;
        CHECK(now == first_, "bits differ from the first run: %s", emu::describe(mode).c_str());
    }

private:
    std::vector<unsigned char> first_;
};

// With an argument: only the tests whose name contains it.
int main(int count, char** words) {
    int run = 0;
    for (const emu::Test& test : emu::tests()) {
        if (count > 1 && std::string(test.name).find(words[1]) == std::string::npos) continue;
        int before = emu::failures;
        try {
            test.run();
        } catch (const emu::Error& e) {
            fprintf(stderr, "%s\n", e.what());
            emu::count_failure();
        }
        if (emu::failures > before) fprintf(stderr, "FAILED %s\n", test.name);
        run++;
    }
    printf("%s: %d tests, %d failures\n", words[0], run, emu::failures);
    return emu::failures || !run;
}
