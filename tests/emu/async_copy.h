// cp.async: copies that land when the mode says, in groups that are waited for.
#pragma once
#include "block.h"
#include "race.h"

namespace emu {

inline void land(const Copy& copy) {
    if (copy.wanted) memcpy(copy.to, copy.from, 16);
    else memset(copy.to, 0, 16);
}

inline void copy16(void* to, const void* from, bool wanted) {
    if (reinterpret_cast<uintptr_t>(to) % 16) fail("copy16: the shared address is no multiple of 16");
    if (reinterpret_cast<uintptr_t>(from) % 16)
        fail(text("copy16: the global address %p is no multiple of 16", from));
    if (!block->shared.holds(to, 16))
        fail("copy16 writes outside shared memory: " + block->shared.describe(to));
    if (block->races) block->races->issue(to);
    Copy copy{to, from, wanted};
    Copies when = block->mode.copies;
    if (when == EARLY || (when == MIXED && next_random(2))) land(copy);
    else memset(to, SharedMemory::POISON, 16);  // what was there is no longer to be relied on
    current->open.push_back(copy);
}

inline void copy_commit() {
    current->groups.push_back(std::move(current->open));
    current->open.clear();
}

inline void copy_wait(size_t keep) {
    auto& groups = current->groups;
    size_t done = groups.size() > keep ? groups.size() - keep : 0;
    for (size_t i = 0; i < done; i++)
        for (const Copy& copy : groups[i]) {
            land(copy);
            if (block->races) block->races->landed(copy.to);
        }
    groups.erase(groups.begin(), groups.begin() + done);
}

}  // namespace emu
