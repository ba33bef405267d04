// A block's shared memory: poisoned with NaN when the block begins, and surrounded by what must stay as it
// is. The dynamic part ends at a page that cannot be touched; static arrays lie between canaries.
#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define EMU_HIDE(at, bytes) __asan_poison_memory_region(at, bytes)
#define EMU_SHOW(at, bytes) __asan_unpoison_memory_region(at, bytes)
#else
#define EMU_HIDE(at, bytes) (void)0
#define EMU_SHOW(at, bytes) (void)0
#endif

namespace emu {

class SharedMemory {
public:
    static constexpr size_t LIMIT = 256 << 10, PAGE = 64 << 10, ALIGNMENT = 128, MARGIN = 256;
    static constexpr unsigned char POISON = 0xff, CANARY = 0xa5;
    static constexpr uint32_t FIRST_ADDRESS = 1024;

    SharedMemory() {
        // [static arrays][page of no access][dynamic part][page of no access]
        base_ = static_cast<unsigned char*>(mmap(nullptr, 2 * (LIMIT + PAGE), PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (base_ == MAP_FAILED) abort();
        mprotect(base_ + LIMIT, PAGE, PROT_NONE);
        mprotect(base_ + 2 * LIMIT + PAGE, PAGE, PROT_NONE);
    }
    ~SharedMemory() {
        EMU_SHOW(base_, LIMIT);
        munmap(base_, 2 * (LIMIT + PAGE));
    }
    SharedMemory(const SharedMemory&) = delete;

    void begin_block(size_t dynamic_bytes) {
        arrays_.clear();
        used_ = 0;
        EMU_SHOW(base_, LIMIT);
        EMU_HIDE(base_, LIMIT);
        dynamic_bytes_ = dynamic_bytes;
        unsigned char* end = base_ + 2 * LIMIT + PAGE;
        dynamic_ = end - (dynamic_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        size_t before = dynamic_ - (end - LIMIT) < (ptrdiff_t)MARGIN ? dynamic_ - (end - LIMIT) : MARGIN;
        below_ = dynamic_ - before;
        memset(below_, CANARY, end - below_);
        memset(dynamic_, POISON, dynamic_bytes);
    }

    // A kernel that asks for less than 1024 gets an address that is no multiple of it.
    void* dynamic(uint32_t alignment = ALIGNMENT) {
        skew_ = alignment < FIRST_ADDRESS ? alignment : 0;
        return dynamic_;
    }

    // Addresses of the dynamic part as the device numbers them, and back.
    uint32_t address(const void* p) const {
        return (uint32_t)(static_cast<const unsigned char*>(p) - dynamic_) + FIRST_ADDRESS + skew_;
    }
    unsigned char* at_address(uint32_t address) const { return dynamic_ + (ptrdiff_t)address - FIRST_ADDRESS - skew_; }

    // The array of one SHARED_ARRAY statement, known by the address of its tag; the first thread to come
    // makes it.
    void* array(const void* tag, size_t bytes) {
        for (const Array& a : arrays_)
            if (a.tag == tag) return a.at;
        unsigned char* at = base_ + used_ + MARGIN;
        size_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        used_ += MARGIN + whole;
        if (used_ + MARGIN > LIMIT) abort();
        EMU_SHOW(at - MARGIN, whole + 2 * MARGIN);
        memset(at - MARGIN, CANARY, whole + 2 * MARGIN);
        memset(at, POISON, bytes);
        EMU_HIDE(at - MARGIN, whole + 2 * MARGIN);
        EMU_SHOW(at, bytes);
        arrays_.push_back({tag, at, bytes});
        return at;
    }

    size_t static_bytes() const {
        size_t sum = 0;
        for (const Array& a : arrays_) sum += a.bytes;
        return sum;
    }

    bool holds(const void* p, size_t bytes) const {
        auto at = static_cast<const unsigned char*>(p);
        if (at >= dynamic_ && at + bytes <= dynamic_ + dynamic_bytes_) return true;
        for (const Array& a : arrays_)
            if (at >= a.at && at + bytes <= a.at + a.bytes) return true;
        return false;
    }

    // In or beside the region all this lies in.
    bool near(const void* p) const {
        auto at = static_cast<const unsigned char*>(p);
        return at >= base_ && at < base_ + 2 * (LIMIT + PAGE);
    }

    // Position in the block's shared memory, for messages.
    std::string describe(const void* p) const {
        auto at = static_cast<const unsigned char*>(p);
        return "byte " + std::to_string(at - dynamic_) + " of " + std::to_string(dynamic_bytes_);
    }

    // Empty if nothing outside the block's own was written.
    std::string damage() const {
        unsigned char* end = base_ + 2 * LIMIT + PAGE;
        for (unsigned char* p = below_; p < end; p++) {
            if (p == dynamic_) p += dynamic_bytes_;
            if (p < end && *p != CANARY) return "write outside dynamic shared memory, at " + describe(p);
        }
        for (const Array& a : arrays_) {
            EMU_SHOW(a.at - MARGIN, a.bytes + 2 * MARGIN);
            for (size_t i = 1; i <= MARGIN; i++)
                if (a.at[-(ptrdiff_t)i] != CANARY || (i <= ALIGNMENT && a.at[a.bytes + i - 1] != CANARY))
                    return "write outside a shared array of " + std::to_string(a.bytes) + " bytes";
        }
        return "";
    }

private:
    struct Array {
        const void* tag;
        unsigned char* at;
        size_t bytes;
    };
    unsigned char *base_, *dynamic_ = nullptr, *below_ = nullptr;
    size_t dynamic_bytes_ = 0, used_ = 0;
    uint32_t skew_ = 0;
    std::vector<Array> arrays_;
};

}  // namespace emu
