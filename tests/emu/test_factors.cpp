// What rows' factors are applied to, against float64: sums of stored exponentials. Packing is in test_columns.cpp.
#include "factors.cuh"
#include "operands.h"
#include "tensors.h"

INSTANTIATE_factors()

struct Sums {
    Arithmetic arithmetic;
    int rows, cols;
    Table values;
    std::vector<float> factors;
};

static Sums some_sums(const Arithmetic& arithmetic, int rows, int cols) {
    Numbers numbers(rows * 3 + cols);
    Sums s{arithmetic, rows, cols, numbers.matrix(rows, cols, 1), numbers.vector(rows, 1)};
    for (auto& row : s.values)
        for (double& x : row) x = std::exp2(20 * x);
    for (int r = 2; r < rows; r += 5) {
        s.factors[r] = 0;
        for (double& x : s.values[r]) x = NAN;
    }
    return s;
}

TEST(sums_of_exponentials_times_factors_as_in_float64) {
    for (const Arithmetic& arithmetic : ARITHMETICS) {
        if (arithmetic.name == std::string("F16")) continue;
        for (auto [rows, cols] : {std::pair(1, 1), {7, 250}, {128, 256}, {130, 257}, {300, 20}, {64, 1000}}) {
            Sums s = some_sums(arithmetic, rows, cols);
            // Rows as long as the matrix kernels leave them, with zeros behind the last column.
            OperandData e(arithmetic, s.values);
            Operand operand = e.operand();
            auto factor = emu::Array<float>::of(s.factors);
            int row_tiles = tiles(rows, FACTORS_ROWS), col_tiles = tiles(cols, FACTORS_COLS);
            emu::Array<float> sums((size_t)row_tiles * cols);
            FactorsArgs args = {};
            args.pack.planes = arithmetic.element_bytes == 4 ? 0 : arithmetic.planes;
            args.pack.out_dtype = args.pack.planes ? BF16 : F32;
            args.e[0] = operand.plane[0], args.e[1] = operand.plane[1], args.e_stride = operand.stride;
            args.rows = rows, args.cols = cols, args.factor = factor.data(), args.sums = sums.data();
            SameBits same;
            for (const emu::Mode& mode : emu::modes()) {
                emu::launch("factors", dim3((unsigned)(row_tiles * col_tiles)), dim3(256), 0, args, mode);
                same.check(mode, sums);
            }
            Comparison comparison;
            for (int tile = 0; tile < row_tiles; tile++)
                for (int c = 0; c < cols; c++) {
                    double want = 0, size = 0;
                    for (int r = tile * FACTORS_ROWS; r < std::min(rows, (tile + 1) * FACTORS_ROWS); r++) {
                        if (s.factors[r] == 0) continue;
                        want += s.factors[r] * e.values[r][c];
                        size += std::fabs(s.factors[r] * e.values[r][c]);
                    }
                    comparison.add(sums[(size_t)tile * cols + c], want, size * sum_rounding(FACTORS_ROWS),
                                   emu::text("tile %d, column %d", tile, c));
                }
            CHECK_WITHIN(comparison, emu::text("%s %dx%d", arithmetic.name, rows, cols).c_str());
        }
    }
}

TEST(instances_list_what_factors_has) {
    const Instance& i = find_instance("factors_");
    CHECK(i.rows == FACTORS_ROWS && i.cols == FACTORS_COLS && i.threads == ROW_BLOCK, "%d x %d", i.rows, i.cols);
}
