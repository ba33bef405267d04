// kernels/product.cuh against float64, for every arithmetic.
#include "operands.h"
#include "product.cuh"

#define INSTANTIATE_BOTH(A) INSTANTIATE_product(A, PLAIN) INSTANTIATE_product(A, TRANSPOSED)
INSTANTIATE_BOTH(Bf16)
INSTANTIATE_BOTH(F16)
INSTANTIATE_BOTH(Bf16x3)
INSTANTIATE_BOTH(Tf32)
INSTANTIATE_BOTH(Fma)

namespace {

Table transposed(const Table& a) {
    Table t(a[0].size(), std::vector<double>(a.size()));
    for (size_t r = 0; r < a.size(); r++)
        for (size_t c = 0; c < a[0].size(); c++) t[c][r] = a[r][c];
    return t;
}

// One call: a [rows, depth], stored so or transposed; b [depth, dim].
struct Case {
    Case(const Arithmetic& arithmetic, bool is_transposed, Table a, Table b)
        : arithmetic(arithmetic), is_transposed(is_transposed), a(arithmetic, is_transposed ? transposed(a) : a),
          b(arithmetic, b), rows((int)a.size()), depth((int)b.size()) {}
    static Case random(const Arithmetic& arithmetic, bool is_transposed, int rows, int depth, int dim) {
        Numbers numbers(rows + depth * 3 + dim * 5);
        return Case(arithmetic, is_transposed, numbers.matrix(rows, depth, 1), numbers.matrix(depth, dim, 1));
    }
    double left(int r, int k) const { return is_transposed ? a.values[k][r] : a.values[r][k]; }

    Arithmetic arithmetic;
    bool is_transposed;
    OperandData a, b;
    int rows, depth;
    std::vector<float> factor;          // empty: NULL
    std::vector<float> before;          // empty: nothing to add to
};

emu::Array<float> run(const Case& c, const emu::Mode& mode = emu::Mode()) {
    const Instance& instance = find_instance(
        emu::text("product_%s_%s", c.arithmetic.name, c.is_transposed ? "TRANSPOSED" : "PLAIN"));
    auto factor = emu::Array<float>::of(c.factor);
    emu::Array<float> out((size_t)c.rows * c.b.dim());
    for (size_t i = 0; i < c.before.size(); i++) out[i] = c.before[i];
    ProductArgs args = {};
    args.a = c.a.operand(), args.b = c.b.operand();
    args.rows = c.rows, args.depth = c.depth, args.dim = c.b.dim();
    args.accumulate = !c.before.empty();
    args.depth_factor = c.factor.empty() ? nullptr : factor.data();
    args.out = out.data();
    dim3 grid(tiles(c.rows, instance.rows), tiles(args.dim, instance.cols));
    emu::launch(instance.symbol().c_str(), grid, dim3(instance.threads), instance.shared_bytes, args, mode);
    return out;
}

void check(const Case& c) {
    emu::Array<float> out = run(c);
    Comparison comparison;
    int dim = (int)c.b.values[0].size();
    for (int r = 0; r < c.rows; r++)
        for (int i = 0; i < c.b.dim(); i++) {
            size_t at = (size_t)r * c.b.dim() + i;
            double sum = c.before.empty() ? 0 : c.before[at], size = std::fabs(sum);
            for (int k = 0; k < c.depth && i < dim; k++) {
                if (!c.factor.empty() && c.factor[k] == 0) continue;
                sum += c.left(r, k) * c.b.values[k][i];
                size += std::fabs(c.left(r, k) * c.b.values[k][i]);
            }
            double allowed = size * (2 * c.arithmetic.rounding + sum_rounding(c.depth)) + 1e-30;
            comparison.add(out[at], sum, allowed, emu::text("out[%d, %d]", r, i));
        }
    CHECK_WITHIN(comparison, emu::text("%s %s %dx%dx%d", c.arithmetic.name, c.is_transposed ? "transposed" : "plain",
                                       c.rows, c.depth, c.b.dim()).c_str());
}

constexpr int SHAPES[][3] = {{1, 1, 1}, {70, 150, 40}, {130, 33, 200}, {5, 300, 136}};

template <class Check> void for_all(Check check) {
    for (const Arithmetic& arithmetic : ARITHMETICS)
        for (bool is_transposed : {false, true}) check(arithmetic, is_transposed);
}

}  // namespace

TEST(products_as_in_float64) {
    for_all([](const Arithmetic& arithmetic, bool is_transposed) {
        for (auto& [rows, depth, dim] : SHAPES) check(Case::random(arithmetic, is_transposed, rows, depth, dim));
    });
}

TEST(sums_are_added_to_what_is_there) {
    for_all([](const Arithmetic& arithmetic, bool is_transposed) {
        Case c = Case::random(arithmetic, is_transposed, 20, 90, 48);
        c.before = Numbers(1).vector(20 * c.b.dim(), 10);
        check(c);
    });
}

TEST(rows_of_factor_zero_are_not_looked_at) {
    for_all([](const Arithmetic& arithmetic, bool is_transposed) {
        Numbers numbers(2);
        Table a = numbers.matrix(20, 230, 1), b = numbers.matrix(230, 48, 1);
        std::vector<float> factor(230, 1);
        for (int k : {0, 31, 32, 100, 228, 229}) {
            factor[k] = 0;
            b[k].assign(48, k % 2 ? NAN : INFINITY);
            for (auto& row : a) row[k] = 0;
        }
        Case c(arithmetic, is_transposed, a, b);
        c.factor = factor;
        check(c);
    });
}

TEST(nan_reaches_its_own_row_only) {
    for_all([](const Arithmetic& arithmetic, bool is_transposed) {
        Numbers numbers(3);
        Table a = numbers.matrix(20, 70, 1), b = numbers.matrix(70, 16, 1);
        a[4][9] = NAN;
        check(Case(arithmetic, is_transposed, a, b));
    });
}

TEST(the_same_bits_in_every_order) {
    for_all([](const Arithmetic& arithmetic, bool is_transposed) {
        Case c = Case::random(arithmetic, is_transposed, 40, 330, 136);
        c.factor = Numbers(1).vector(330, 1);
        c.factor[7] = c.factor[200] = 0;
        SameBits same;
        for (const emu::Mode& mode : emu::modes()) same.check(mode, run(c, mode));
    });
}

TEST(instances_list_what_product_has) {
    auto check = [](const char* name, int rows, int cols, int threads, int plain, int transposed) {
        const Instance& p = find_instance(std::string("product_") + name + "_PLAIN");
        const Instance& t = find_instance(std::string("product_") + name + "_TRANSPOSED");
        for (const Instance* i : {&p, &t})
            CHECK(i->rows == rows && i->cols == cols && i->threads == threads, "%s", name);
        CHECK(p.shared_bytes == plain && t.shared_bytes == transposed, "%s", name);
    };
#define LISTED(A)                                                                                         \
    check(#A, SlabShape<arithmetic::A>::ROWS, SlabShape<arithmetic::A>::COLS, SlabShape<arithmetic::A>::THREADS, \
          ProductMemory<arithmetic::A, PLAIN>::Slabs::BYTES, ProductMemory<arithmetic::A, TRANSPOSED>::Slabs::BYTES)
    LISTED(Bf16);
    LISTED(F16);
    LISTED(Bf16x3);
    LISTED(Tf32);
    LISTED(Fma);
}
