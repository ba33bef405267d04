// kernels/logits_wgmma.cuh against float64, for both types.
#include "operands.h"
#include "logits_wgmma.cuh"
#include "tensor_map_of.h"

#define INSTANTIATE_BOTH(A) INSTANTIATE_logits_wgmma(A, LSE) INSTANTIATE_logits_wgmma(A, PROBABILITIES)
INSTANTIATE_BOTH(Bf16)
INSTANTIATE_BOTH(F16)
INSTANTIATE_logits_wgmma(Bf16, EXPONENTIALS)

namespace {

constexpr const char* KERNEL = "logits_wgmma";
constexpr Arithmetic TESTED[] = {ARITHMETICS[0], ARITHMETICS[1]};
// One slab a tile and more tiles than slabs, several slabs, fewer and more of them than there are stages.
constexpr int SHAPES[][3] = {{1, 1, 1},      {70, 150, 72}, {130, 300, 40}, {5, 129, 200},
                             {9, 1600, 24}, {65, 256, 64}, {20, 600, 330}};
constexpr int COLS_IN_EVERY_ORDER = 600;

void launch_logits(const Instance& instance, dim3 grid, const LogitsArgs& args, const emu::Mode& mode) {
    LogitsWgmmaArgs all = {tensor_map(args.q.plane[0], args.rows, args.dim, args.q.stride, instance.rows),
                           tensor_map(args.k.plane[0], args.cols, args.dim, args.k.stride, instance.cols), args};
    all.logits.q = all.logits.k = Operand();
    emu::launch(instance.symbol().c_str(), grid, dim3(instance.threads), instance.shared_bytes, all, mode);
}

}  // namespace

#include "logits_tests.h"

TEST(instances_list_what_logits_wgmma_has) {
    for (const char* name : {"Bf16_LSE", "Bf16_PROBABILITIES", "Bf16_EXPONENTIALS", "F16_LSE", "F16_PROBABILITIES"}) {
        using Shape = LogitsWgmmaShape;
        const Instance& i = find_instance(std::string("logits_wgmma_") + name);
        CHECK(i.rows == Shape::ROWS && i.cols == Shape::COLS && i.threads == Shape::THREADS, "%s", name);
        CHECK(i.shared_bytes == LogitsWgmmaMemory::BYTES, "%s: %d", name, LogitsWgmmaMemory::BYTES);
    }
}
