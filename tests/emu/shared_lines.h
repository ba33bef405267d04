// Shared memory in lines of 128 bytes, with what copies of tiles write there and products read: a line may be read by
// a warp that has waited for its copy, and filled anew once all its readers' products are known to be done.
#pragma once
#include <bitset>

#include "happens_before.h"

namespace emu {

constexpr int LINE_BYTES = 128, LINES = (256 << 10) / LINE_BYTES;
using LineSet = std::bitset<LINES>;

class SharedLines {
public:
    void begin_block() { lines_.assign(LINES, Line()); }

    // A copy to these lines is issued.
    void fill(const LineSet& set, const Knowledge& knowledge, uint32_t barrier, uint64_t phase) {
        each(set, [&](Line& line, int i) {
            if (line.flying) refuse("race: a tile is copied to where another copy has not landed; " + describe(i));
            if (line.unwaited)
                refuse("race: a tile is copied to what a product that was not waited for reads; " + describe(i));
            for (const Event& read : line.reads)
                if (!knowledge.is_known(read))
                    refuse(text("race: a tile is copied to what warp %d has read, with no barrier between; ",
                                read.warp) +
                           describe(i));
            line = {true, true, barrier, phase, 0, {}};
        });
    }
    void land(const LineSet& set) {
        each(set, [](Line& line, int) { line.flying = false; });
    }
    // A product that reads them is started. `has_waited(warp, barrier, phase)` for the warps of the warpgroup.
    template <class HasWaited>
    void start_reading(const LineSet& set, int first_warp, bool fenced, HasWaited has_waited) {
        each(set, [&](Line& line, int i) {
            for (int w = first_warp; line.copied && w < first_warp + 4; w++)
                if (!has_waited(w, line.barrier, line.phase))
                    refuse(text("race: a product reads a tile whose barrier warp %d has not waited for; ", w) +
                           describe(i));
            if (!line.copied && !fenced)
                refuse("a product reads what ordinary stores have written, with no fence_async before; " + describe(i));
            line.unwaited += 4;
        });
    }
    // This warp has waited for it.
    void finish_reading(const LineSet& set, const Event& event) {
        each(set, [&](Line& line, int) {
            line.unwaited--;
            for (Event& read : line.reads)
                if (read.warp == event.warp) {
                    read = event;
                    return;
                }
            line.reads.push_back(event);
        });
    }

private:
    struct Line {
        bool copied = false, flying = false;
        uint32_t barrier = 0;
        uint64_t phase = 0;
        int unwaited = 0;
        std::vector<Event> reads;
    };
    template <class Do> void each(const LineSet& set, Do what) {
        for (size_t i = set._Find_first(); i < LINES; i = set._Find_next(i)) what(lines_[i], (int)i);
    }
    static std::string describe(int line) {
        return text("bytes %d to %d of shared memory", line * LINE_BYTES, (line + 1) * LINE_BYTES);
    }

    std::vector<Line> lines_;
};

}  // namespace emu
