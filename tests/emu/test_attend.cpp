// kernels/attend.cuh against float64, for every arithmetic and depth.
#include "operands.h"
#include "attend.cuh"

#define INSTANTIATE_BOTH(A, DIM) INSTANTIATE_attend(A, DIM, ONLINE) INSTANTIATE_attend(A, DIM, KNOWN)
#define INSTANTIATE_ALL(A) INSTANTIATE_BOTH(A, 64) INSTANTIATE_BOTH(A, 128) INSTANTIATE_BOTH(A, 256)
INSTANTIATE_ALL(Bf16)
INSTANTIATE_ALL(F16)
INSTANTIATE_ALL(Bf16x3)
INSTANTIATE_ALL(Tf32)
INSTANTIATE_ALL(Fma)

namespace {

constexpr const char* KERNEL = "attend";
constexpr auto& TESTED = ARITHMETICS;
constexpr int SHAPES[][3] = {{1, 1, 1},     {70, 150, 40}, {130, 70, 64}, {30, 203, 72},
                             {66, 65, 128}, {67, 90, 200}, {9, 33, 256}};

void launch_attend(const Instance& instance, dim3 grid, const AttendArgs& args, const emu::Mode& mode) {
    emu::launch(instance.symbol().c_str(), grid, dim3(instance.threads), instance.shared_bytes, args, mode);
}

}  // namespace

#include "attend_tests.h"

TEST(a_column_of_factor_zero_is_not_looked_at) {
    for (const Arithmetic& arithmetic : ARITHMETICS)
        for (int dim : {24, 100, 136}) {
            Numbers numbers(5);
            Table q = numbers.matrix(20, dim, 1), k = numbers.matrix(150, dim, 0.1);
            q[6][3] = INFINITY;
            for (int col : {0, 17, 64, 130, 149}) k[col].assign(dim, col % 2 ? NAN : INFINITY);
            Case c(arithmetic, q, k);
            for (int col : {0, 17, 64, 130, 149}) c.col_factor[col] = 0, c.col_add[col] = NAN;
            Result result = run(c, "KNOWN", 1, 1, false);
            for (int r = 0; r < 20; r++)
                for (int i = 0; i < dim; i++) {
                    float x = result.out[(size_t)r * c.q.dim() + i];
                    CHECK(r == 6 || std::isfinite(x), "%s out[%d, %d] = %g", arithmetic.name, r, i, x);
                }
        }
}

TEST(instances_list_what_attend_has) {
    auto check = [](const char* name, int depth, int rows, int cols, int threads, int bytes) {
        for (const char* mode : {"ONLINE", "KNOWN"}) {
            const Instance& i = find_instance(emu::text("attend_%s_%d_%s", name, depth, mode));
            CHECK(i.rows == rows && i.cols == cols && i.threads == threads && i.shared_bytes == bytes, "%s", name);
        }
    };
#define LISTED(A, DIM)                                                                                    \
    {                                                                                                     \
        using Shape = AttendShape<arithmetic::A, DIM>;                                                    \
        check(#A, DIM, Shape::ROWS, Shape::COLS, Shape::THREADS, AttendMemory<arithmetic::A, DIM>::BYTES); \
    }
#define LISTED_ALL(A) LISTED(A, 64) LISTED(A, 128) LISTED(A, 256)
    LISTED_ALL(Bf16)
    LISTED_ALL(F16)
    LISTED_ALL(Bf16x3)
    LISTED_ALL(Tf32)
    LISTED_ALL(Fma)
}
