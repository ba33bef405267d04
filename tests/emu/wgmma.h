// wgmma: products of a warpgroup, started together and done when waited for. Operands are read where their
// descriptors say, through the swizzle; registers in use by a product hold NaN until it is waited for.
#pragma once
#include <deque>
#include <memory>

#include "mbarrier.h"
#include "numbers.h"
#include "shared_lines.h"
#include "tile_copy.h"
#include "warp.h"

namespace emu {

// Operand of a product in shared memory: from 8 rows to the next, SBO; MAJOR_ACROSS beyond 64 numbers, LBO.
class MatrixDescriptor {
public:
    explicit MatrixDescriptor(uint64_t bits)
        : start_((uint32_t)(bits & 0x3fff) << 4), leading_((uint32_t)(bits >> 16 & 0x3fff) << 4),
          stride_((uint32_t)(bits >> 32 & 0x3fff) << 4), base_((uint32_t)(bits >> 49 & 7)), swizzle_(bits >> 62) {}

    void check(const char* operand) const {
        if (swizzle_ != 1) refuse(text("wgmma: swizzle mode %llu of %s", (unsigned long long)swizzle_, operand));
        if ((start_ >> 7 & 7) != base_)
            refuse(text("wgmma: %s begins at shared address %u, in row %u of the swizzle's eight, base offset %u",
                        operand, start_, start_ >> 7 & 7, base_));
    }
    // Address of number (i, k), k along the depth.
    uint32_t at(bool across, uint32_t i, uint32_t k) const {
        uint32_t offset = across ? i % 64 * 2 + i / 64 * leading_ + k % 8 * 128 + k / 8 * stride_
                                 : k * 2 + i % 8 * 128 + i / 8 * stride_;
        return swizzled(start_ + offset);
    }

private:
    uint32_t start_, leading_, stride_, base_;
    uint64_t swizzle_;
};

struct WgmmaLane {
    float* sums;
    const uint32_t* a;  // NULL: from shared memory
    uint64_t a_matrix, b_matrix;
    int add;
};

class Warpgroups {
public:
    static constexpr int DEPTH = 16;
    Warpgroups(Knowledge* knowledge, Barriers* barriers, SharedLines* lines)
        : knowledge_(knowledge), barriers_(barriers), lines_(lines) {}

    void begin_block(int warps) {
        groups_ = std::vector<Group>((warps + 3) / 4);
        threads_.assign(warps * 32, OfThread());
        stores_fenced_ = false;
    }
    void fence_async() { stores_fenced_ = true; }
    void fence() { mine().fenced = true; }
    void commit() { mine().commits.push_back(mine().issued); }

    void wait(size_t keep) {
        OfThread& me = mine();
        me.fenced = false;
        size_t done = me.commits.size() > keep ? me.commits[me.commits.size() - 1 - keep] : 0;
        Group& group = groups_[current->warp / 4];
        for (; me.done < done; me.done++) {
            Operation& operation = *group.operations[me.done];
            while (group.executed <= me.done) execute(*group.operations[group.executed++]);
            int lane = self() % 128;
            check_operand_registers(operation, lane);
            // Sums that a later product uses stay out of reach until that one is waited for.
            if (operation.sums->last == me.done) write_sums(*operation.sums, lane);
            if (++operation.lanes_done[current->warp % 4] == 32)
                lines_->finish_reading(operation.lines, knowledge_->event());
            if (++operation.all_done == 128) group.operations[me.done].reset();
        }
        vote("wgmma_wait", true);  // it is an instruction of the whole warp
    }

    // By the last of 128 lanes, for all.
    void issue(const char* name, WgmmaLane* const* lanes, int columns, bool b_across, float (*decode)(uint16_t)) {
        Group& group = groups_[current->warp / 4];
        auto owned = std::make_unique<Operation>();
        Operation& operation = *owned;
        operation.columns = columns, operation.b_across = b_across, operation.decode = decode;
        operation.add = lanes[0]->add != 0, operation.from_registers = lanes[0]->a != nullptr;
        operation.a = lanes[0]->a_matrix, operation.b = lanes[0]->b_matrix;
        for (int i = 0; i < 128; i++) {
            const WgmmaLane& lane = *lanes[i];
            if (lane.a_matrix != operation.a || lane.b_matrix != operation.b || (lane.add != 0) != operation.add)
                refuse(text("%s: lane %d has other operands than lane 0", name, i));
            operation.a_registers[i] = lane.a;
            if (lane.a) memcpy(operation.a_copy[i], lane.a, 16);
        }
        if (!operation.from_registers) operation.read_by(operation.lines, true);
        operation.read_by(operation.lines, false);
        int first_warp = current->warp / 4 * 4;
        lines_->start_reading(operation.lines, first_warp, stores_fenced_,
                              [&](int warp, uint32_t barrier, uint64_t phase) {
                                  return barriers_->has_waited(warp, barrier, phase);
                              });
        take_sums(group, operation, lanes, first_warp * 32);
        group.operations.push_back(std::move(owned));
        for (int i = 0; i < 128; i++) threads_[first_warp * 32 + i].issued++;
        Copies when = block->mode.copies;
        if (when == EARLY || (when == MIXED && next_random(2)))
            while (group.executed < group.operations.size()) execute(*group.operations[group.executed++]);
    }

    void set_registers(int count, bool more) {
        Group& group = groups_[current->warp / 4];
        if (count < 24 || count > 256 || count % 8) refuse(text("%d registers a thread", count));
        int before = group.registers ? group.registers : at_entry();
        if (more ? count < before : count > before)
            refuse(text("%s_registers<%d> by threads that have %d", more ? "take" : "give", count, before));
        group.registers = count;
        int sum = 0;  // of those that have asked: the others may yet give some back
        for (const Group& g : groups_) sum += g.registers;
        if (sum * 128 > 65536) refuse(text("%d registers in all, there are 65536", sum * 128));
    }

    std::string unfinished() const {
        for (const OfThread& t : threads_)
            if (t.done < t.issued) return "products are under way that nobody has waited for";
        return "";
    }

private:
    struct Sums {
        float* at[128];
        int columns;
        size_t last;  // operation
        std::vector<float> values;
        float* of(int row, int column) { return &values[(size_t)row * columns + column]; }
    };
    struct Operation {
        std::shared_ptr<Sums> sums;
        uint64_t a, b;
        bool add, from_registers, b_across;
        int columns, lanes_done[4] = {}, all_done = 0;
        const uint32_t* a_registers[128];
        uint32_t a_copy[128][4];
        float (*decode)(uint16_t);
        LineSet lines;

        void read_by(LineSet& set, bool of_a) const {
            MatrixDescriptor matrix(of_a ? a : b);
            matrix.check(of_a ? "a" : "b");
            bool across = !of_a && b_across;
            int count = of_a ? 64 : columns;
            for (int i = 0; i < count; i += across ? 8 : 1)
                for (int k = 0; k < DEPTH; k += across ? 1 : 8) {
                    uint32_t address = matrix.at(across, i, k);
                    if (!block->shared.holds(block->shared.at_address(address), 16))
                        refuse(text("wgmma: %s reaches shared address %u, outside the block's", of_a ? "a" : "b",
                                    address));
                    set.set(address / LINE_BYTES);
                }
        }
    };
    struct Group {
        std::deque<std::unique_ptr<Operation>> operations;  // NULL once all have waited for it
        size_t executed = 0;
        int registers = 0;
    };
    struct OfThread {
        bool fenced = false;
        size_t issued = 0, done = 0;
        std::vector<size_t> commits;
    };

    static int self() { return current->warp * 32 + current->lane; }
    OfThread& mine() { return threads_[self()]; }
    int at_entry() const { return 65536 / block->threads_in_block / 8 * 8; }

    static int row_of(int lane, int i) { return lane / 32 * 16 + lane % 32 / 4 + i / 2 % 2 * 8; }
    static int column_of(int lane, int i) { return i / 4 * 8 + lane % 4 * 2 + i % 2; }
    static constexpr uint32_t IN_USE = 0x7fbadbad;  // a NaN

    void take_sums(Group& group, Operation& operation, WgmmaLane* const* lanes, int first) {
        size_t index = group.operations.size();
        for (size_t i = threads_[first].done; i < index; i++)
            if (group.operations[i]->sums->at[0] == lanes[0]->sums) operation.sums = group.operations[i]->sums;
        bool is_new = !operation.sums;
        if (is_new) operation.sums = std::make_shared<Sums>();
        Sums& sums = *operation.sums;
        if (!is_new && sums.columns != operation.columns) refuse("wgmma: sums in use by a product of another width");
        sums.columns = operation.columns, sums.last = index;
        if (is_new) sums.values.resize(64 * (size_t)operation.columns);
        for (int lane = 0; lane < 128; lane++) {
            float* at = sums.at[lane] = lanes[lane]->sums;
            // Registers of a, too, were written by this thread.
            if ((is_new || operation.from_registers) && !threads_[first + lane].fenced)
                refuse("wgmma: no wgmma_fence since the registers could be used");
            for (int i = 0; i < operation.columns / 2; i++) {
                if (is_new) *sums.of(row_of(lane, i), column_of(lane, i)) = at[i];
                else if (bits_of(at[i]) != IN_USE) refuse("wgmma: sums written while a product uses them");
                at[i] = float_of(IN_USE);
            }
        }
    }
    void write_sums(Sums& sums, int lane) {
        for (int i = 0; i < sums.columns / 2; i++) {
            if (bits_of(sums.at[lane][i]) != IN_USE) refuse("wgmma: sums written while a product uses them");
            sums.at[lane][i] = *sums.of(row_of(lane, i), column_of(lane, i));
        }
    }
    static void check_operand_registers(const Operation& operation, int lane) {
        if (operation.from_registers && memcmp(operation.a_registers[lane], operation.a_copy[lane], 16))
            refuse("wgmma: registers of a written while a product uses them");
    }

    void execute(Operation& o) {
        float a[64][DEPTH];
        std::vector<float> b((size_t)DEPTH * o.columns), sums(o.columns);
        auto read = [&](uint32_t address) {
            uint16_t bits;
            memcpy(&bits, block->shared.at_address(address), 2);
            return o.decode(bits);
        };
        if (o.from_registers) {
            for (int lane = 0; lane < 128; lane++)
                for (int i = 0; i < 8; i++)
                    a[row_of(lane, i)][lane % 4 * 2 + i % 2 + i / 4 * 8] =
                        o.decode((uint16_t)(o.a_copy[lane][i / 2] >> i % 2 * 16));
        } else {
            for (int row = 0; row < 64; row++)
                for (int k = 0; k < DEPTH; k++) a[row][k] = read(MatrixDescriptor(o.a).at(false, row, k));
        }
        for (int column = 0; column < o.columns; column++)
            for (int k = 0; k < DEPTH; k++)
                b[(size_t)k * o.columns + column] = read(MatrixDescriptor(o.b).at(o.b_across, column, k));
        for (int row = 0; row < 64; row++) {
            std::fill(sums.begin(), sums.end(), 0.f);
            for (int k = 0; k < DEPTH; k++)
                for (int column = 0; column < o.columns; column++)
                    sums[column] += a[row][k] * b[(size_t)k * o.columns + column];
            float* to = o.sums->of(row, 0);
            for (int column = 0; column < o.columns; column++) to[column] = (o.add ? to[column] : 0.f) + sums[column];
        }
    }

    Knowledge* knowledge_;
    Barriers* barriers_;
    SharedLines* lines_;
    std::vector<Group> groups_;
    std::vector<OfThread> threads_;
    bool stores_fenced_ = false;
};

}  // namespace emu
