// cp.async.bulk.tensor: the copy of a box of a matrix, swizzled by its shared addresses, that lands at once or as late
// as anything else can still go on.
#pragma once
#include "mbarrier.h"
#include "shared_lines.h"
#include "tensor_map.h"

namespace emu {

// Chunks of 16 bytes are xored with bits 7 to 9 of their address.
inline uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

class TileCopies {
public:
    TileCopies(Knowledge* knowledge, Barriers* barriers, SharedLines* lines)
        : knowledge_(knowledge), barriers_(barriers), lines_(lines) {}

    void issue(void* to, const void* map, const void* barrier, int x, int y) {
        if (reinterpret_cast<uintptr_t>(map) % 64) refuse("copy_tile: the map is not aligned to 64 bytes");
        Copying copy;
        memcpy(&copy.map, map, sizeof copy.map);
        if (copy.map.mark != TENSOR_MAP_MARK) refuse("copy_tile: this is no tensor map");
        uint32_t bytes = copy.map.box[0] * copy.map.box[1] * copy.map.element_bytes;
        if (!block->shared.holds(to, bytes))
            refuse("copy_tile writes outside shared memory: " + block->shared.describe(to));
        copy.to = block->shared.address(to), copy.x = x, copy.y = y;
        if (copy.to % (copy.map.swizzle ? 1024 : 128))
            refuse(text("copy_tile: the tile at shared address %u is not aligned for its swizzle", copy.to));
        uint64_t phase = barriers_->phase_for_copy(barrier, &copy.barrier);
        for (uint32_t at = copy.to; at < copy.to + bytes; at += LINE_BYTES) copy.lines.set(at / LINE_BYTES);
        lines_->fill(copy.lines, *knowledge_, copy.barrier, phase);
        memset(to, SharedMemory::POISON, bytes);
        copy.bytes = bytes;
        Copies when = block->mode.copies;
        if (when == EARLY || (when == MIXED && next_random(2))) {
            std::string wrong = land(copy);
            if (!wrong.empty()) refuse(wrong);
        } else {
            flying_.push_back(copy);
        }
    }

    // One of those that have not landed. False: there is none.
    bool land_one(std::string* wrong) {
        if (flying_.empty()) return false;
        size_t which = block->mode.seed ? next_random((unsigned)flying_.size()) : 0;
        Copying copy = flying_[which];
        flying_.erase(flying_.begin() + (ptrdiff_t)which);
        *wrong = land(copy);
        return true;
    }
    std::string unfinished() const {
        return flying_.empty() ? "" : text("%zu copies of tiles are under way", flying_.size());
    }

private:
    struct Copying {
        TensorMapFields map;
        uint32_t to, bytes, barrier;
        int x, y;
        LineSet lines;
    };

    std::string land(const Copying& c) {
        uint32_t chunk = 16 / c.map.element_bytes, row_bytes = c.map.box[0] * c.map.element_bytes;
        for (uint32_t row = 0; row < c.map.box[1]; row++)
            for (uint32_t col = 0; col < c.map.box[0]; col += chunk) {
                uint32_t address = c.to + row * row_bytes + col * c.map.element_bytes;
                unsigned char* to = block->shared.at_address(c.map.swizzle ? swizzled(address) : address);
                memset(to, 0, 16);
                int64_t y = (int64_t)c.y + row, x = (int64_t)c.x + col;
                if (y < 0 || y >= (int64_t)c.map.dims[1]) continue;
                int64_t first = std::max<int64_t>(0, -x), last = std::min<int64_t>(chunk, (int64_t)c.map.dims[0] - x);
                if (first < last)
                    memcpy(to + first * c.map.element_bytes,
                           c.map.base + y * c.map.pitch + (x + first) * c.map.element_bytes,
                           (last - first) * c.map.element_bytes);
            }
        lines_->land(c.lines);
        return barriers_->complete(c.barrier, c.bytes);
    }

    Knowledge* knowledge_;
    Barriers* barriers_;
    SharedLines* lines_;
    std::vector<Copying> flying_;
};

}  // namespace emu
