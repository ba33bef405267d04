// kernels/logits.cuh against float64, for every arithmetic.
#include "operands.h"
#include "logits.cuh"

#define INSTANTIATE_BOTH(A) INSTANTIATE_logits(A, LSE) INSTANTIATE_logits(A, PROBABILITIES)
INSTANTIATE_BOTH(Bf16)
INSTANTIATE_BOTH(F16)
INSTANTIATE_BOTH(Bf16x3)
INSTANTIATE_BOTH(Tf32)
INSTANTIATE_BOTH(Fma)
INSTANTIATE_logits(Bf16, EXPONENTIALS)
INSTANTIATE_logits(Bf16x3, EXPONENTIALS)
INSTANTIATE_logits(Tf32, EXPONENTIALS)
INSTANTIATE_logits(Fma, EXPONENTIALS)

namespace {

constexpr const char* KERNEL = "logits";
constexpr auto& TESTED = ARITHMETICS;
constexpr int SHAPES[][3] = {{1, 1, 1}, {70, 150, 72}, {130, 300, 40}, {5, 129, 200}, {65, 128, 64}};
constexpr int COLS_IN_EVERY_ORDER = 200;

void launch_logits(const Instance& instance, dim3 grid, const LogitsArgs& args, const emu::Mode& mode) {
    emu::launch(instance.symbol().c_str(), grid, dim3(instance.threads), instance.shared_bytes, args, mode);
}

}  // namespace

#include "logits_tests.h"

TEST(instances_list_what_logits_has) {
    auto check = [](const char* name, int rows, int cols, int threads, int bytes) {
        for (const char* mode : {"LSE", "PROBABILITIES", "EXPONENTIALS"}) {
            if (mode == std::string("EXPONENTIALS") && name == std::string("F16")) continue;
            const Instance& i = find_instance(std::string("logits_") + name + "_" + mode);
            CHECK(i.rows == rows && i.cols == cols && i.threads == threads && i.shared_bytes == bytes, "%s", name);
        }
    };
#define LISTED(A)                                                                                         \
    check(#A, SlabShape<arithmetic::A>::ROWS, SlabShape<arithmetic::A>::COLS, SlabShape<arithmetic::A>::THREADS, \
          LogitsMemory<arithmetic::A>::BYTES)
    LISTED(Bf16);
    LISTED(F16);
    LISTED(Bf16x3);
    LISTED(Tf32);
    LISTED(Fma);
}
