// Memory as a device would give it, and stricter: fresh bytes are NaN, the end touches a page that cannot be
// accessed, what is left to the alignment holds canaries, and freed memory stays inaccessible for a while.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <string>

namespace emu {

class GuardedMemory {
public:
    static constexpr size_t ALIGNMENT = 256, PAGE = 4096, KEPT = 4096;
    static constexpr unsigned char POISON = 0xff, CANARY = 0x5a;

    struct Allocation {
        unsigned char *pages, *at;
        size_t page_bytes, bytes;  // page_bytes without the two pages around
        int owner;
        bool freed;
    };

    static GuardedMemory& instance() {
        static auto* all = new GuardedMemory;  // never destroyed: a program may free at its very end
        return *all;
    }

    // NULL if the machine has no more. `owner` is a mark of the caller's.
    void* allocate(size_t bytes, int owner = 0) {
        size_t rounded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        size_t page_bytes = (rounded + PAGE - 1) / PAGE * PAGE;
        auto whole = static_cast<unsigned char*>(mmap(nullptr, page_bytes + 2 * PAGE, PROT_NONE,
                                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (whole == MAP_FAILED) return nullptr;
        unsigned char* pages = whole + PAGE;
        if (mprotect(pages, page_bytes, PROT_READ | PROT_WRITE)) return nullptr;
        unsigned char* at = pages + page_bytes - rounded;
        memset(pages, CANARY, at - pages);
        memset(at, POISON, bytes);
        memset(at + bytes, CANARY, rounded - bytes);
        std::lock_guard guard(lock_);
        all_[at] = {pages, at, page_bytes, bytes, owner, false};
        return at;
    }

    // Empty, or what was wrong with it. The memory is gone unless it was never there.
    std::string free(void* p) {
        std::lock_guard guard(lock_);
        auto found = all_.find(static_cast<unsigned char*>(p));
        if (found == all_.end()) return "free of an address that was never allocated";
        Allocation& a = found->second;
        if (a.freed) return "double free";
        std::string wrong = damage(a);
        mprotect(a.pages, a.page_bytes, PROT_NONE);
        madvise(a.pages, a.page_bytes, MADV_DONTNEED);
        a.freed = true;
        freed_.push_back(a.at);
        if (freed_.size() > KEPT) {
            Allocation& oldest = all_[freed_.front()];
            munmap(oldest.pages - PAGE, oldest.page_bytes + 2 * PAGE);
            all_.erase(freed_.front());
            freed_.pop_front();
        }
        return wrong;
    }

    // The allocation [p, p + bytes) belongs to; false with the reason if it is not wholly inside a live one.
    bool find(const void* p, size_t bytes, Allocation* out, std::string* why = nullptr) {
        std::lock_guard guard(lock_);
        auto at = static_cast<const unsigned char*>(p);
        auto after = all_.upper_bound(const_cast<unsigned char*>(at));
        std::string reason = "not device memory";
        if (after != all_.begin()) {
            const Allocation& a = std::prev(after)->second;
            size_t offset = at - a.at;
            if (out) *out = a;
            if (offset < a.bytes || (offset == a.bytes && bytes == 0)) {
                if (a.freed) reason = "freed memory";
                else if (bytes <= a.bytes - offset) return true;
                else
                    reason = std::to_string(offset + bytes - a.bytes) +
                             " bytes past the end of an allocation of " + std::to_string(a.bytes);
            }
        }
        if (why) *why = reason;
        return false;
    }

    // Of one owner: bytes not freed, and the first damage found around them.
    size_t live_bytes(int owner, std::string* wrong = nullptr) {
        std::lock_guard guard(lock_);
        size_t sum = 0;
        for (auto& [at, a] : all_) {
            (void)at;
            if (a.freed || a.owner != owner) continue;
            sum += a.bytes;
            if (wrong && wrong->empty()) *wrong = damage(a);
        }
        return sum;
    }

    // For the message of a memory fault, perhaps from a signal handler.
    std::string explain(const void* p) {
        if (!lock_.try_lock()) return "unknown";
        std::string message = "no allocation is near";
        auto at = static_cast<const unsigned char*>(p);
        for (auto& [start, a] : all_) {
            (void)start;
            if (at < a.pages - PAGE || at >= a.pages + a.page_bytes + PAGE) continue;
            message = a.freed ? "freed allocation of " : "allocation of ";
            message += std::to_string(a.bytes) + " bytes, offset " + std::to_string(at - a.at);
        }
        lock_.unlock();
        return message;
    }

private:
    static std::string damage(const Allocation& a) {
        for (unsigned char* p = a.pages; p < a.pages + a.page_bytes; p++) {
            if (p == a.at) p += a.bytes;
            if (p < a.pages + a.page_bytes && *p != CANARY)
                return "write outside an allocation of " + std::to_string(a.bytes) + " bytes, at offset " +
                       std::to_string(p - a.at);
        }
        return "";
    }

    std::mutex lock_;
    std::map<unsigned char*, Allocation> all_;
    std::deque<unsigned char*> freed_;
};

// An array in guarded memory, for tests: what a kernel reads or writes outside it is found.
template <class T> class Array {
public:
    explicit Array(size_t count) : count_(count) {
        at_ = static_cast<T*>(GuardedMemory::instance().allocate(count * sizeof(T)));
    }
    template <class Container> static Array of(const Container& values) {
        Array a(values.size());
        size_t i = 0;
        for (const auto& v : values) a.at_[i++] = v;
        return a;
    }
    Array(Array&& other) : at_(other.at_), count_(other.count_) { other.at_ = nullptr; }
    ~Array() {
        std::string wrong = at_ ? GuardedMemory::instance().free(at_) : "";
        if (!wrong.empty()) fprintf(stderr, "emu: %s\n", wrong.c_str()), abort();
    }
    T* data() const { return at_; }
    size_t size() const { return count_; }
    T& operator[](size_t i) const { return at_[i]; }
    T* begin() const { return at_; }
    T* end() const { return at_ + count_; }

private:
    T* at_;
    size_t count_;
};

}  // namespace emu
