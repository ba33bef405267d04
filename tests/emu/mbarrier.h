// mbarriers and named barriers: arrivals, announced bytes, phases and their parity.
#pragma once
#include <map>

#include "happens_before.h"

namespace emu {

class Barriers {
public:
    explicit Barriers(Knowledge* knowledge) : knowledge_(knowledge) {}

    void init(const void* at, int arrivals) {
        uint32_t address = place(at);
        if (arrivals < 1 || arrivals >= 1 << 20) refuse(text("barrier_init: %d arrivals", arrivals));
        if (all_.count(address)) refuse("barrier_init: there is a barrier already; " + block->shared.describe(at));
        Mbarrier& b = all_[address];
        b.arrivals = b.pending = arrivals;
        b.heard_by.assign(block->threads_in_block, 0);
        b.created = knowledge_->event();
        b.creator = self();
    }
    void invalidate(const void* at) {
        Mbarrier& b = find(at, "barrier_invalidate");
        if (b.waiting) refuse("barrier_invalidate: threads wait for it");
        all_.erase(place(at));
    }
    void fence_init() {
        for (auto& [address, b] : all_)
            if (b.creator == self()) (void)address, b.fenced = true;
    }
    // Announces `bytes` first, if any.
    void arrive(const void* at, int64_t bytes, const char* name) {
        Mbarrier& b = find(at, name);
        if (bytes < 0 || b.bytes + bytes >= 1 << 20) refuse(text("%s: %lld bytes", name, (long long)bytes));
        if (b.pending == 0)
            refuse(text("%s: more than the %d arrivals of a phase; ", name, b.arrivals) + block->shared.describe(at));
        b.bytes += bytes;
        knowledge_->tell(b.gathered);
        b.pending--;
        end_phase(b);
    }
    // A thread waits for each phase once, and for none before the first; another parity is taken for a mistake.
    void wait(const void* at, int parity) {
        Mbarrier& b = find(at, "barrier_wait");
        uint64_t& heard = b.heard_by[self()];
        if ((int)(heard & 1) != parity)
            refuse(text("barrier_wait: parity %d where this thread's next phase is %llu; ", parity,
                      (unsigned long long)heard) + block->shared.describe(at));
        if (b.phase > heard + 1) refuse("barrier_wait: a later phase of the same parity has begun");
        b.waiting++;
        while (b.phase == heard) wait_for_change(&b.phase, heard, "barrier_wait");
        b.waiting--;
        knowledge_->hear(b.told[heard & 1]);
        heard++;
    }
    bool has_waited(int warp, uint32_t address, uint64_t phase) {
        auto found = all_.find(address);
        if (found == all_.end()) return true;
        for (int lane = 0; lane < 32; lane++)
            if (found->second.heard_by[warp * 32 + lane] > phase) return true;
        return false;
    }

    // For copies: the phase that one issued now belongs to; and that its bytes are there.
    uint64_t phase_for_copy(const void* at, uint32_t* address) {
        Mbarrier& b = find(at, "copy_tile");
        if (!b.fenced) refuse("copy_tile: no fence_barrier_init between the barrier's making and the copy");
        *address = place(at);
        return b.phase;
    }
    // Empty, or what is wrong. Called by the scheduler too, where no thread can fail.
    std::string complete(uint32_t address, int64_t bytes) {
        auto found = all_.find(address);
        if (found == all_.end()) return "a copy reports to a barrier that is no more";
        Mbarrier& b = found->second;
        b.bytes -= bytes;
        if (b.bytes < 0) return text("copies bring %lld bytes more than were announced", -(long long)b.bytes);
        end_phase(b);
        return "";
    }

    void named(int id, int threads, bool waits) {
        const char* name = waits ? "named_sync" : "named_arrive";
        if (id < 1 || id > 15 || threads <= 0 || threads % 32) refuse(text("%s(%d, %d)", name, id, threads));
        Named& b = named_[id];
        if (b.arrived && b.threads != threads)
            refuse(text("%s(%d, %d) where others say %d threads", name, id, threads, b.threads));
        b.threads = threads;
        knowledge_->tell(b.gathered);
        uint64_t generation = b.generation;
        if (++b.arrived == threads) {
            b.arrived = 0;
            b.told = b.gathered;
            b.generation++;
        } else if (waits) {
            wait_for_change(&b.generation, generation, "named_sync");
        }
        if (waits) knowledge_->hear(b.told);
    }

    // At the block's end; and for the message of a deadlock.
    std::string unfinished() const {
        for (auto& [id, b] : named_)
            if (b.arrived) return text("named barrier %d is left with %d arrivals", id, b.arrived);
        return "";
    }
    std::string describe_waited() const {
        std::string message;
        for (auto& [address, b] : all_)
            if (b.waiting)
                message += text("; the barrier at %u lacks %d arrivals and %lld bytes", address, b.pending,
                                (long long)b.bytes);
        return message;
    }

private:
    struct Mbarrier {
        int arrivals = 0, pending = 0, creator = 0, waiting = 0;
        int64_t bytes = 0;
        uint64_t phase = 0;  // phases that have ended
        bool fenced = false;
        Event created;
        Clocks gathered{}, told[2]{};
        std::vector<uint64_t> heard_by;  // phases that each thread has waited for
    };
    struct Named {
        int threads = 0, arrived = 0;
        uint64_t generation = 0;
        Clocks gathered{}, told{};
    };

    static int self() { return current->warp * 32 + current->lane; }
    static uint32_t place(const void* at) {
        if (!block->shared.holds(at, 8) || reinterpret_cast<uintptr_t>(at) % 8)
            refuse("a barrier must lie in shared memory, at a multiple of 8; " + block->shared.describe(at));
        return block->shared.address(at);
    }
    Mbarrier& find(const void* at, const char* name) {
        auto found = all_.find(place(at));
        if (found == all_.end()) refuse(text("%s: no barrier was made there; ", name) + block->shared.describe(at));
        if (!knowledge_->is_known(found->second.created))
            refuse(text("%s: nothing orders it behind the barrier's making", name));
        return found->second;
    }
    static void end_phase(Mbarrier& b) {
        if (b.pending || b.bytes) return;
        b.told[b.phase & 1] = b.gathered;
        b.pending = b.arrivals;
        b.phase++;
    }

    Knowledge* knowledge_;
    std::map<uint32_t, Mbarrier> all_;
    std::map<int, Named> named_;
};

}  // namespace emu
