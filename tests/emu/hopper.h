// Barriers, copies of tiles and products of a block, and operations of whole warpgroups.
#pragma once
#include "wgmma.h"

namespace emu {

class Hopper : public Background {
public:
    Knowledge knowledge;
    Barriers barriers{&knowledge};
    SharedLines lines;
    TileCopies copies{&knowledge, &barriers, &lines};
    Warpgroups products{&knowledge, &barriers, &lines};

    Hopper() {
        knowledge.begin_block((int)block->warps.size() * 32);
        lines.begin_block();
        products.begin_block((int)block->warps.size());
        groups_.resize((block->warps.size() + 3) / 4);
    }

    // The last lane to come does it for all 128.
    template <class Lane, class Run> void collective(const char* operation, Lane& mine, Run run) {
        Warpgroup& group = groups_[current->warp / 4];
        if ((size_t)(current->warp / 4 * 4 + 4) > block->warps.size())
            refuse(text("%s by half a warpgroup", operation));
        if (group.arrived == 0) group.operation = operation;
        if (group.operation != operation)
            refuse(text("divergent warpgroup: this lane does %s, others wait in %s", operation, group.operation));
        group.lanes[current->warp % 4 * 32 + current->lane] = &mine;
        uint64_t generation = group.generation;
        if (++group.arrived == 128) {
            run(reinterpret_cast<Lane* const*>(group.lanes));
            group.arrived = 0;
            group.generation++;
        } else {
            wait_for_change(&group.generation, generation, operation);
        }
    }

    bool advance(std::string* wrong) override { return copies.land_one(wrong); }
    std::string unfinished() const override {
        std::string left = copies.unfinished();
        if (left.empty()) left = products.unfinished();
        return left.empty() ? barriers.unfinished() : left;
    }
    std::string describe_waited() const override { return barriers.describe_waited(); }

private:
    struct Warpgroup {
        int arrived = 0;
        uint64_t generation = 0;
        const char* operation = nullptr;
        void* lanes[128];
    };
    std::vector<Warpgroup> groups_;
};

template <class Do> void with_hopper(Do work) {
    if (!block->background) block->background = std::make_unique<Hopper>();
    std::string wrong;
    try {
        work(static_cast<Hopper&>(*block->background));
    } catch (const Error& error) {
        wrong = error.what();
    }
    if (!wrong.empty()) fail(std::move(wrong));
}

inline void run_wgmma(const char* name, float* sums, const uint32_t* a, uint64_t a_matrix, uint64_t b_matrix, int add,
                      int columns, bool b_across, float (*decode)(uint16_t)) {
    WgmmaLane mine{sums, a, a_matrix, b_matrix, add};
    with_hopper([&](Hopper& hopper) {
        hopper.collective(name, mine, [&](WgmmaLane* const* lanes) {
            hopper.products.issue(name, lanes, columns, b_across, decode);
        });
    });
}

inline void set_registers(const char* name, int count, bool more) {
    int mine = count;
    with_hopper([&](Hopper& hopper) {
        hopper.collective(name, mine, [&](int* const*) { hopper.products.set_registers(count, more); });
    });
}

}  // namespace emu
