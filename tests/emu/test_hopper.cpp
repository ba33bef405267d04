// kernels/hopper.cuh under the emulator: copies, barriers and products do what they should, and misuse of them is
// found.
#include "tensor_map_of.h"
#include "operands.h"
#include "multiply_tiles.cuh"

#define MULTIPLY_ALL(T)                                                                                   \
    MULTIPLY(T, 64, BY_ROWS) MULTIPLY(T, 128, BY_ROWS) MULTIPLY(T, 256, BY_ROWS)                          \
    MULTIPLY(T, 64, BY_COLUMNS) MULTIPLY(T, 128, BY_COLUMNS) MULTIPLY(T, 256, BY_COLUMNS)
MULTIPLY_ALL(bf16)
MULTIPLY_ALL(f16)

namespace {

// Matrices one row and three columns short of their tiles: what is missing counts as zeros.
void check_product(const Arithmetic& arithmetic, const char* type, int n, Form form) {
    Numbers numbers(n);
    int depth = form == BY_ROWS ? 61 : 32, b_rows = form == BY_ROWS ? n - 1 : 31, b_cols = form == BY_ROWS ? 61 : n - 3;
    OperandData a(arithmetic, numbers.matrix(63, depth, 1)), b(arithmetic, numbers.matrix(b_rows, b_cols, 1));
    auto value = [](const OperandData& of, int row, int col) {
        return row < (int)of.values.size() && col < (int)of.values[0].size() ? of.values[row][col] : 0;
    };
    emu::Array<float> in_registers(64 * 32), out((size_t)64 * n);
    for (int i = 0; i < 64 * 32; i++) in_registers[i] = (float)value(a, i / 32, i % 32);
    ProductOfTiles args = {};
    args.a = tensor_map(a.operand().plane[0], 63, a.dim(), a.dim(), 64);
    args.b = tensor_map(b.operand().plane[0], b_rows, b.dim(), b.dim(), form == BY_ROWS ? n : 32);
    args.a_values = in_registers.data(), args.out = out.data();
    std::string name = emu::text("multiply_%s_%d_%s", type, n, form == BY_ROWS ? "BY_ROWS" : "BY_COLUMNS");
    int bytes = 64 * 128 + (form == BY_ROWS ? n * 128 : n / 64 * 32 * 128) + 8;
    SameBits same;
    for (const emu::Mode& mode : emu::modes()) {
        emu::launch(name.c_str(), dim3(1), dim3(128), bytes, args, mode);
        same.check(mode, out);
    }
    Comparison comparison;
    for (int r = 0; r < 64; r++)
        for (int c = 0; c < n; c++) {
            double wanted = 0, size = 1e-30;
            for (int k = 0; k < 64; k++) {
                double x = k < 32 || form == BY_ROWS ? value(a, r, k) : 0;
                double y = form == BY_ROWS ? value(b, c, k) : k < 32 ? value(b, k, c) : 0;
                wanted += x * y, size += std::fabs(x * y);
            }
            comparison.add(out[(size_t)r * n + c], wanted, size * sum_rounding(64), emu::text("[%d, %d]", r, c));
        }
    CHECK_WITHIN(comparison, name.c_str());
}

}  // namespace

TEST(products_of_copied_tiles_are_those_of_float64) {
    for (int n : {64, 128, 256})
        for (Form form : {BY_ROWS, BY_COLUMNS}) {
            check_product(ARITHMETICS[0], "bf16", n, form);
            check_product(ARITHMETICS[1], "f16", n, form);
        }
}

// ---- what is refused -----------------------------------------------------------------------------

// A producer warp and a warpgroup that multiplies, two stages: out[64, 64] = sum over `count` tiles of a tile's square.
struct Pipeline {
    TensorMap map;
    float* out;
    int count, bug;
};
enum Bug {
    NONE,
    UNALIGNED_SHARED,
    NO_INIT_FENCE,
    WRONG_PARITY,
    WAITED_BEFORE_ANY_PHASE,
    TOO_FEW_BYTES,
    TOO_MANY_BYTES,
    NOT_WAITED_FOR,
    REFILLED_UNASKED,
    RELEASED_TOO_EARLY,
    RELEASED_BY_ONE_WARP,
    TOO_MANY_ARRIVALS,
    NO_WGMMA_FENCE,
    SUMS_READ_TOO_EARLY,
    SUMS_WRITTEN_TOO_EARLY,
    OPERAND_REGISTERS_WRITTEN,
    NOT_COMMITTED,
    PART_OF_A_PATTERN,
    NO_SWIZZLE,
    STORED_UNFENCED,
    STORED_FENCED,
    TOO_MANY_REGISTERS,
    LEFT_AT_NAMED_BARRIER,
    OTHER_COUNT_AT_NAMED_BARRIER,
    NO_BARRIER
};

DEV void produce(const Pipeline& args, Panels<64, 64> (&tiles)[2], Barrier* full, Barrier* empty) {
    for (int step = 0; step < args.count; step++) {
        if (step >= 2 && args.bug != REFILLED_UNASKED) barrier_wait(empty + step % 2, (step / 2 - 1) & 1);
        if (elected()) {
            int bytes = tiles[0].BYTES;
            if (args.bug == TOO_FEW_BYTES) bytes -= 64;
            if (args.bug == TOO_MANY_BYTES) bytes += 64;
            barrier_arrive_expect(full + step % 2, bytes);
            tiles[step % 2].copy(&args.map, full + step % 2, 0, step * 64);
        }
    }
}

DEV void consume(const Pipeline& args, Panels<64, 64> (&tiles)[2], Barrier* full, Barrier* empty) {
    float d[8][4] = {};
    u32 a[4] = {};
    int bug = args.bug;
    for (int step = 0; step < args.count; step++) {
        Panels<64, 64> tile = tiles[step % 2];
        if (bug == STORED_UNFENCED || bug == STORED_FENCED) {
            if (step == 0) store_vector(tiles[1].base + 8192 + 1024 + threadIdx.x % 128 * 16, uint4{0, 0, 0, 0});
            if (bug == STORED_FENCED) fence_async();
        }
        if (bug != NOT_WAITED_FOR) barrier_wait(full + step % 2, (step / 2 + (bug == WRONG_PARITY && step == 3)) & 1);
        if (bug == RELEASED_TOO_EARLY && lane_id() == 0) barrier_arrive(empty + step % 2);
        if (bug != NO_WGMMA_FENCE) wgmma_fence();
        u64 left = tile.by_rows(0, 0);
        if (bug == PART_OF_A_PATTERN) left = tile.by_rows(4, 0);
        if (bug == NO_SWIZZLE) left &= ~(3ull << 62);
        if (bug == STORED_UNFENCED || bug == STORED_FENCED) left = swizzled_matrix(tiles[1].base + 8192 + 1024, 16);
        if (bug == OPERAND_REGISTERS_WRITTEN) {
            Wgmma<bf16, 64>::registers<MAJOR_DEPTH>(d, a, tile.by_rows(0, 0), 1);
            a[0] = 1;
        }
        for (int k = 0; k < 4; k++)
            Wgmma<bf16, 64>::shared<MAJOR_DEPTH>(d, k ? tile.by_rows(0, k) : left, tile.by_rows(0, k), 1);
        if (bug == SUMS_READ_TOO_EARLY && step == 0) args.out[threadIdx.x % 128] = d[0][0];
        if (bug == SUMS_WRITTEN_TOO_EARLY) d[0][0] = 0.f;
        if (bug != NOT_COMMITTED) wgmma_commit();
        wgmma_wait<0>();
        bool tells = bug == RELEASED_BY_ONE_WARP ? threadIdx.x % 128 == 0 : lane_id() == 0;
        if (bug == RELEASED_TOO_EARLY) continue;
        for (int i = bug == RELEASED_BY_ONE_WARP ? 0 : 3; tells && i < 4; i++) barrier_arrive(empty + step % 2);
        if (bug == TOO_MANY_ARRIVALS && tells) barrier_arrive(empty + step % 2);
    }
    int row = warp_id() % 4 * 16 + lane_id() / 4, column = lane_id() % 4 * 2;
    for (int n = 0; bug != SUMS_READ_TOO_EARLY && n < 8; n++)
        for (int i = 0; i < 4; i++) args.out[(row + i / 2 * 8) * 64 + n * 8 + column + i % 2] = d[n][i];
}

DEV void pipeline(const Pipeline& args) {
    DYN_SMEM_1024(u8, aligned);
    DYN_SMEM(u8, shared);
    if (args.bug != UNALIGNED_SHARED) shared = static_cast<u8*>(emu::block->shared.dynamic(1024));
    (void)aligned;
    Panels<64, 64> tiles[2] = {{shared}, {shared + 8192}};
    Barrier *full = reinterpret_cast<Barrier*>(shared + 2 * 8192), *empty = full + 2;
    int bug = args.bug;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) barrier_init(full + i, 1), barrier_init(empty + i, 4);
        if (bug != NO_INIT_FENCE) fence_barrier_init();
    }
    if (bug != NO_BARRIER) __syncthreads();
    if (bug == WAITED_BEFORE_ANY_PHASE) barrier_wait(empty, 1);
    if (warpgroup_id() == 0) {
        give_registers<40>();
        if (warp_id() == 0) produce(args, tiles, full, empty);
        if (bug == LEFT_AT_NAMED_BARRIER) named_arrive(3, 256);
        if (bug == OTHER_COUNT_AT_NAMED_BARRIER) named_arrive(3, 128 + 64);
    } else {
        if (bug == TOO_MANY_REGISTERS) take_registers<256>(), take_registers<248>();
        else take_registers<256>();
        consume(args, tiles, full, empty);
        if (bug == OTHER_COUNT_AT_NAMED_BARRIER) named_sync(3, 256);
    }
}
ENTRY(pipeline, Pipeline, 256, 1, pipeline(args))

namespace {

struct Setting {
    static constexpr int COUNT = 6;
    emu::Array<u16> matrix{COUNT * 64 * 64};
    emu::Array<float> out{64 * 64};
    Setting() {
        for (size_t i = 0; i < matrix.size(); i++) matrix[i] = bf16_bits((float)(i * 37 % 101) / 64);
    }
    double at(int row, int col) const { return emu::of_bf16(matrix[row * 64 + col]); }
    void run(Bug bug, const emu::Mode& mode = emu::Mode()) {
        Pipeline args = {tensor_map(matrix.data(), COUNT * 64, 64, 64, 64), out.data(), COUNT, bug};
        int more = bug == STORED_UNFENCED || bug == STORED_FENCED ? 1024 + 8192 : 0;
        emu::launch("pipeline", dim3(1), dim3(256), 2 * 8192 + 64 + more, args, mode);
    }
};

void refused(Bug bug, const char* words) {
    Setting s;
    for (emu::Mode mode : emu::modes()) REFUSED(words, s.run(bug, mode));
}

}  // namespace

TEST(a_correct_pipeline_gives_the_same_bits_in_every_mode) {
    Setting s;
    SameBits same;
    for (const emu::Mode& mode : emu::modes()) {
        s.run(NONE, mode);
        same.check(mode, s.out);
        double wanted = 0;
        for (int tile = 0; tile < s.COUNT; tile++)
            for (int k = 0; k < 64; k++) wanted += s.at(tile * 64 + 5, k) * s.at(tile * 64 + 9, k);
        CHECK(std::fabs(s.out[5 * 64 + 9] - wanted) < 1e-3, "%g, not %g", s.out[5 * 64 + 9], wanted);
    }
}
TEST(barriers_must_be_made_known_before_use) {
    refused(NO_INIT_FENCE, "no fence_barrier_init");
    Setting s;
    emu::Mode greedy;
    greedy.seed = 1, greedy.greedy = true;
    REFUSED("barrier", s.run(NO_BARRIER, greedy));
}
TEST(wrong_parity_is_found) {
    refused(WRONG_PARITY, "parity");
    refused(WAITED_BEFORE_ANY_PHASE, "parity");
}
TEST(announced_bytes_must_be_those_that_land) {
    refused(TOO_FEW_BYTES, "64 bytes more than were announced");
    refused(TOO_MANY_BYTES, "lacks 0 arrivals and 64 bytes");
}
TEST(a_tile_is_read_once_it_was_waited_for) { refused(NOT_WAITED_FOR, "a product reads"); }
TEST(a_tile_is_filled_anew_once_its_readers_are_done) {
    refused(REFILLED_UNASKED, "pipeline block");  // which rule comes first depends on the order
    refused(RELEASED_TOO_EARLY, "a tile is copied to");
    refused(RELEASED_BY_ONE_WARP, "a tile is copied to");
    refused(TOO_MANY_ARRIVALS, "a tile is copied to");
}
TEST(registers_of_products_are_left_alone_until_the_wait) {
    refused(NO_WGMMA_FENCE, "no wgmma_fence");
    refused(SUMS_WRITTEN_TOO_EARLY, "sums written");
    refused(OPERAND_REGISTERS_WRITTEN, "registers of a written");
    refused(NOT_COMMITTED, "was not waited for");
    Setting s;
    s.run(SUMS_READ_TOO_EARLY);
    CHECK(is_nan(s.out[3]), "%g", s.out[3]);
}
TEST(descriptors_must_name_whole_swizzle_patterns) {
    refused(PART_OF_A_PATTERN, "in row 4 of the swizzle's eight");
    refused(NO_SWIZZLE, "swizzle mode 0");
    refused(UNALIGNED_SHARED, "not aligned for its swizzle");
}
TEST(ordinary_stores_need_a_fence_before_a_product) {
    refused(STORED_UNFENCED, "no fence_async");
    Setting s;
    s.run(STORED_FENCED);
}
TEST(registers_are_given_before_they_are_taken) {
    refused(TOO_MANY_REGISTERS, "take_registers<248> by threads that have 256");
}
TEST(named_barriers_must_balance) {
    refused(LEFT_AT_NAMED_BARRIER, "left with 128 arrivals");
    refused(OTHER_COUNT_AT_NAMED_BARRIER, "where others say 192 threads");
}
TEST(tensor_maps_are_checked) {
    Setting s;
    u16* base = s.matrix.data();
    REFUSED("aligned to 16", tensor_map(base + 1, 64, 64, 64, 64));
    REFUSED("pitch of 130", tensor_map(base, 64, 64, 65, 64));
    REFUSED("overlap", tensor_map(base, 64, 64, 56, 64));
    REFUSED("dimension 1 is 0", tensor_map(base, 0, 64, 64, 64));
    REFUSED("box dimension 1 is 257", tensor_map(base, 64, 64, 64, 257));
    Pipeline args = {};
    args.out = s.out.data(), args.count = 1;
    REFUSED("no tensor map", emu::launch("pipeline", dim3(1), dim3(256), 2 * 8192 + 64, args));
}

// A barrier's memory serves another once it was given up.
struct Reuse {
    int invalidate;
};
DEV void reuse(const Reuse& args) {
    DYN_SMEM_1024(Barrier, barrier);
    for (int round = 0; round < 2; round++) {
        if (threadIdx.x == 0) barrier_init(barrier, 64 + round * 64);
        __syncthreads();
        for (int i = 0; i <= round; i++) barrier_arrive(barrier);
        barrier_wait(barrier, 0);
        __syncthreads();
        if (threadIdx.x == 0 && args.invalidate) barrier_invalidate(barrier);
        __syncthreads();
    }
}
ENTRY(reuse, Reuse, 64, 1, reuse(args))

TEST(a_barrier_is_invalidated_before_another_takes_its_place) {
    emu::launch("reuse", dim3(1), dim3(64), 8, Reuse{1});
    REFUSED("there is a barrier already", emu::launch("reuse", dim3(1), dim3(64), 8, Reuse{0}));
}
