// kernels/attend_wgmma.cuh against float64, for both types and every depth.
#include "operands.h"
#include "attend_wgmma.cuh"
#include "tensor_map_of.h"

#define INSTANTIATE_BOTH(A, DIM) INSTANTIATE_attend_wgmma(A, DIM, ONLINE) INSTANTIATE_attend_wgmma(A, DIM, KNOWN)
#define INSTANTIATE_ALL(A) INSTANTIATE_BOTH(A, 64) INSTANTIATE_BOTH(A, 128) INSTANTIATE_BOTH(A, 256)
INSTANTIATE_ALL(Bf16)
INSTANTIATE_ALL(F16)

namespace {

constexpr const char* KERNEL = "attend_wgmma";
constexpr Arithmetic TESTED[] = {ARITHMETICS[0], ARITHMETICS[1]};
// One tile, more tiles than there are stages, and what lies between.
constexpr int SHAPES[][3] = {{1, 1, 1},      {70, 150, 40},  {130, 70, 64},  {30, 203, 72},  {66, 65, 128},
                             {67, 90, 200},  {9, 33, 256},   {20, 700, 64},  {140, 530, 104}, {12, 300, 168}};

void launch_attend(const Instance& instance, dim3 grid, const AttendArgs& args, const emu::Mode& mode) {
    AttendWgmmaArgs all = {tensor_map(args.q.plane[0], args.rows, args.dim, args.q.stride, instance.rows),
                           tensor_map(args.k.plane[0], args.cols, args.dim, args.k.stride, instance.cols), args};
    all.attend.q = all.attend.k = Operand();
    emu::launch(instance.symbol().c_str(), grid, dim3(instance.threads), instance.shared_bytes, all, mode);
}

}  // namespace

#include "attend_tests.h"

TEST(a_column_of_factor_zero_counts_for_nothing) {
    for (const Arithmetic& arithmetic : TESTED)
        for (int dim : {24, 100, 136}) {
            Case c = Case::random(arithmetic, 20, 150, dim);
            for (int col : {0, 17, 64, 130, 149}) c.col_factor[col] = 0;
            check_known(c);
            Result before = run(c, "KNOWN", 1, 1, false);
            for (int col : {0, 17, 64, 130, 149}) c.col_add[col] = col % 2 ? NAN : INFINITY;
            Result after = run(c, "KNOWN", 1, 1, false);
            CHECK(!memcmp(before.out.data(), after.out.data(), before.out.size() * 4), "%d: other bits", dim);
        }
}

TEST(instances_list_what_attend_wgmma_has) {
    auto check = [](const char* name, int depth, int rows, int cols, int threads, int bytes) {
        for (const char* mode : {"ONLINE", "KNOWN"}) {
            const Instance& i = find_instance(emu::text("attend_wgmma_%s_%d_%s", name, depth, mode));
            CHECK(i.rows == rows && i.cols == cols && i.threads == threads, "%s %d", name, depth);
            CHECK(i.shared_bytes == bytes, "%s %d: %d bytes", name, depth, bytes);
        }
    };
#define LISTED(A, DIM)                                                                                    \
    check(#A, DIM, AttendWgmmaShape<DIM>::ROWS, AttendWgmmaShape<DIM>::COLS, AttendWgmmaShape<DIM>::THREADS, \
          AttendWgmmaMemory<DIM>::BYTES);
#define LISTED_ALL(A) LISTED(A, 64) LISTED(A, 128) LISTED(A, 256)
    LISTED_ALL(Bf16)
    LISTED_ALL(F16)
}
