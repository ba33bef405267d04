// A second stack on the same OS thread, and the switch to it: one for each CUDA thread of a block.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace emu {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t STACK_BYTES = 512 << 10;
#else
constexpr size_t STACK_BYTES = 128 << 10;
#endif

#if defined(__x86_64__)
// Saves what the calling convention says a function keeps, and the stack pointer.
__attribute__((naked, noinline)) inline void switch_stack(void**, void*) {
    asm volatile(
        "pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15;"
        "movq %rsp, (%rdi); movq %rsi, %rsp;"
        "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
}
#endif

class Fiber {
public:
    // Ready to run `entry` from its beginning; `entry` must never return. Fibers of different `number` begin
    // at different offsets: stacks that all end at the same would compete for the same lines of the cache.
    void prepare(void (*entry)(), int number) {
        if (!stack_) stack_.reset(new char[STACK_BYTES]);
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(stack_.get(),
                                      STACK_BYTES);  // an earlier thread may have been left half way
#endif
        for (int i = 0; i < 8; i++) words()[i] = CANARY;
#if defined(__x86_64__)
        auto end = stack_.get() + STACK_BYTES - number * 320 % 4096;
        auto top = reinterpret_cast<uintptr_t>(end) & ~uintptr_t(63);
        auto at = reinterpret_cast<void**>(top) -
                  1;  // a called function finds its stack 8 bytes off a multiple of 16
        *at = nullptr;
        *--at = reinterpret_cast<void*>(entry);
        for (int i = 0; i < 6; i++) *--at = nullptr;
        stack_pointer_ = at;
#else
        getcontext(&own_);
        own_.uc_stack.ss_sp = stack_.get();
        own_.uc_stack.ss_size = STACK_BYTES - number * 320 % 4096;
        own_.uc_link = nullptr;
        makecontext(&own_, entry, 0);
#endif
    }

    // From the scheduler into the fiber; comes back at the fiber's next leave().
    void enter() {
#if defined(__SANITIZE_ADDRESS__)
        void* fake;
        __sanitizer_start_switch_fiber(&fake, stack_.get(), STACK_BYTES);
#endif
#if defined(__x86_64__)
        switch_stack(&scheduler_, stack_pointer_);
#else
        swapcontext(&scheduler_, &own_);
#endif
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
    }

    // First thing on the new stack.
    void arrived() {
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
    }

    // From the fiber back to the scheduler; returns when it is entered again, never if `last`.
    void leave(bool last) {
#if defined(__SANITIZE_ADDRESS__)
        void* fake = nullptr;
        __sanitizer_start_switch_fiber(last ? nullptr : &fake, scheduler_stack_, scheduler_stack_bytes_);
#else
        (void)last;
#endif
#if defined(__x86_64__)
        switch_stack(&stack_pointer_, scheduler_);
#else
        swapcontext(&own_, &scheduler_);
#endif
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fake, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
    }

    bool overflowed() const {
        for (int i = 0; i < 8; i++)
            if (words()[i] != CANARY) return true;
        return false;
    }

private:
    static constexpr uint64_t CANARY = 0x5afe57acc5afe57aull;
    uint64_t* words() const { return reinterpret_cast<uint64_t*>(stack_.get()); }

    std::unique_ptr<char[]> stack_;
#if defined(__x86_64__)
    void* stack_pointer_ = nullptr;
    void* scheduler_ = nullptr;
#else
    ucontext_t own_, scheduler_;
#endif
#if defined(__SANITIZE_ADDRESS__)
    const void* scheduler_stack_ = nullptr;
    size_t scheduler_stack_bytes_ = 0;
#endif
};

}  // namespace emu
