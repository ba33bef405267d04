// A memory fault of a kernel becomes an Error that names the thread and the allocation next to the address.
// Faults elsewhere go to whoever handled them before.
#pragma once
#include <signal.h>

#include <mutex>

#include "block.h"
#include "guarded_memory.h"

namespace emu {

inline struct sigaction earlier_segv, earlier_bus;

inline void on_fault(int signal, siginfo_t* info, void* context) {
    if (current && block) {
        // Leaves the handler by the fiber switch: the thread that faulted never goes on.
        const void* at = info->si_addr;
        if (block->shared.near(at)) fail("access outside shared memory: " + block->shared.describe(at));
        fail(text("memory fault at %p: %s", at, GuardedMemory::instance().explain(at).c_str()));
    }
    if (std::string near = GuardedMemory::instance().explain(info->si_addr); near != "no allocation is near")
        fprintf(stderr, "emu: the host accesses device memory at %p: %s\n", info->si_addr, near.c_str());
    struct sigaction& earlier = signal == SIGSEGV ? earlier_segv : earlier_bus;
    if (earlier.sa_flags & SA_SIGINFO) return earlier.sa_sigaction(signal, info, context);
    if (earlier.sa_handler != SIG_DFL && earlier.sa_handler != SIG_IGN) return earlier.sa_handler(signal);
    sigaction(signal, &earlier, nullptr);  // the access happens again, and ends the program
}

inline void watch_faults() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &action, &earlier_segv);
        sigaction(SIGBUS, &action, &earlier_bus);
    });
}

}  // namespace emu
