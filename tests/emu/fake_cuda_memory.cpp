// Device, pinned and managed memory, and what the driver knows of an address.
#include <sys/mman.h>

#include <cstring>

#include "fake_cuda.h"

namespace fake {

namespace {

emu::GuardedMemory& memory() { return emu::GuardedMemory::instance(); }

std::map<int, size_t> in_use;                                  // by device
std::map<Address, std::pair<size_t, int>> device_allocations;  // bytes, device
int open_accesses = 0;
std::mutex access_lock;

void show_device_memory(bool visible) {
    for (auto& [at, allocation] : device_allocations) {
        uintptr_t first = at & ~uintptr_t(emu::GuardedMemory::PAGE - 1);
        uintptr_t end =
            (at + allocation.first + emu::GuardedMemory::PAGE - 1) & ~uintptr_t(emu::GuardedMemory::PAGE - 1);
        mprotect(reinterpret_cast<void*>(first), end - first, visible ? PROT_READ | PROT_WRITE : PROT_NONE);
    }
}

int allocate(void** out, size_t bytes, Kind kind, const char* what) {
    *out = nullptr;
    if (bytes == 0) return complain(INVALID_VALUE, "%s of 0 bytes", what);
    emu::watch_faults();
    Context* context = current();
    size_t limit = (size_t)settings().memory_mib << 20;
    if (kind == DEVICE_MEMORY && in_use[context->device] + bytes > limit) return OUT_OF_MEMORY;
    void* at = memory().allocate(bytes, context->owner(kind));
    if (!at) return OUT_OF_MEMORY;
    *out = at;
    if (kind != DEVICE_MEMORY) return 0;
    in_use[context->device] += bytes;
    std::lock_guard guard(access_lock);
    device_allocations[reinterpret_cast<Address>(at)] = {bytes, context->device};
    if (settings().hide && !open_accesses) show_device_memory(false);
    return 0;
}

int release(void* at, bool host, const char* what) {
    emu::GuardedMemory::Allocation a;
    std::string why;
    if (!memory().find(at, 0, &a, &why))
        return complain(INVALID_VALUE, "%s(%p): %s", what, at,
                        why == "freed memory" ? "double free" : why.c_str());
    if (a.at != at) return complain(INVALID_VALUE, "%s(%p): not the beginning of an allocation", what, at);
    if ((a.owner % 4 == PINNED_MEMORY) != host)
        return complain(INVALID_VALUE, "%s(%p): memory of the other kind", what, at);
    drain_all(current());
    {
        std::lock_guard guard(access_lock);
        if (a.owner % 4 == DEVICE_MEMORY) {
            auto found = device_allocations.find(reinterpret_cast<Address>(at));
            in_use[found->second.second] -= found->second.first;
            if (settings().hide && !open_accesses) show_device_memory(true);
            device_allocations.erase(found);
            if (settings().hide && !open_accesses) show_device_memory(false);
        }
    }
    std::string wrong;
    {
        Access access;
        wrong = memory().free(at);
        // Already released as far as `device_allocations` knows: its page must be visible to look for damage.
    }
    return wrong.empty() ? 0 : complain(ILLEGAL_ADDRESS, "%s(%p): %s", what, at, wrong.c_str());
}

}  // namespace

Access::Access() {
    std::lock_guard guard(access_lock);
    if (open_accesses++ == 0 && settings().hide) show_device_memory(true);
}
Access::~Access() {
    std::lock_guard guard(access_lock);
    if (--open_accesses == 0 && settings().hide) show_device_memory(false);
}

int check_device_range(const char* argument, Address at, size_t bytes) {
    std::string why;
    emu::GuardedMemory::Allocation a{};
    if (memory().find(reinterpret_cast<void*>(at), bytes, &a, &why)) return 0;
    if (settings().pageable && why == "not device memory") return 0;
    return complain(INVALID_VALUE, "%s = 0x%llx, %zu bytes: %s", argument, at, bytes, why.c_str());
}

bool is_pinned(const void* at) {
    emu::GuardedMemory::Allocation a;
    return memory().find(at, 0, &a) && a.owner % 4 != DEVICE_MEMORY;
}

std::string leaks(Context* context) {
    Access access;
    std::string all, wrong;
    const char* names[] = {"device memory", "pinned memory", "managed memory"};
    for (Kind kind : {DEVICE_MEMORY, PINNED_MEMORY, MANAGED_MEMORY})
        if (size_t bytes = memory().live_bytes(context->owner(kind), &wrong))
            all += emu::text("%s%zu bytes of %s not freed", all.empty() ? "" : ", ", bytes, names[kind]);
    if (!wrong.empty()) all += " and " + wrong;
    if (context->modules)
        all += emu::text("%s%d modules not unloaded", all.empty() ? "" : ", ", context->modules);
    if (context->events)
        all += emu::text("%s%d events not destroyed", all.empty() ? "" : ", ", context->events);
    if (!context->streams.empty())
        all += emu::text("%s%zu streams not destroyed", all.empty() ? "" : ", ", context->streams.size());
    return all;
}

}  // namespace fake

using namespace fake;

EXPORT int cuMemAlloc_v2(Address* out, size_t bytes) {
    return call("cuMemAlloc_v2", CONTEXT | NO_CAPTURE, [&] {
        void* at = nullptr;
        int code = allocate(&at, bytes, DEVICE_MEMORY, "an allocation");
        return *out = reinterpret_cast<Address>(at), code;
    });
}
EXPORT int cuMemFree_v2(Address at) {
    return call("cuMemFree_v2", CONTEXT | NO_CAPTURE,
                [&] { return at ? release(reinterpret_cast<void*>(at), false, "cuMemFree") : 0; });
}
EXPORT int cuMemAllocManaged(Address* out, size_t bytes, unsigned) {
    return call("cuMemAllocManaged", CONTEXT | NO_CAPTURE, [&] {
        void* at = nullptr;
        int code = allocate(&at, bytes, MANAGED_MEMORY, "an allocation");
        return *out = reinterpret_cast<Address>(at), code;
    });
}
EXPORT int cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    return call("cuMemHostAlloc", CONTEXT | NO_CAPTURE,
                [&] { return allocate(out, bytes, PINNED_MEMORY, "pinned memory"); });
}
EXPORT int cuMemAllocHost_v2(void** out, size_t bytes) {
    return call("cuMemAllocHost_v2", CONTEXT | NO_CAPTURE,
                [&] { return allocate(out, bytes, PINNED_MEMORY, "pinned memory"); });
}
EXPORT int cuMemFreeHost(void* at) {
    return call("cuMemFreeHost", CONTEXT | NO_CAPTURE, [&] { return release(at, true, "cuMemFreeHost"); });
}
EXPORT int cuMemHostGetDevicePointer_v2(Address* out, void* at, unsigned) {
    return call("cuMemHostGetDevicePointer_v2", CONTEXT, [&] {
        if (!is_pinned(at)) return complain(INVALID_VALUE, "%p is not pinned", at);
        return *out = reinterpret_cast<Address>(at), 0;
    });
}
EXPORT int cuMemGetInfo_v2(size_t* available, size_t* total) {
    return call("cuMemGetInfo_v2", CONTEXT, [&] {
        *total = (size_t)settings().memory_mib << 20;
        return *available = *total - in_use[current()->device], 0;
    });
}
EXPORT int cuMemGetAddressRange_v2(Address* base, size_t* bytes, Address at) {
    return call("cuMemGetAddressRange_v2", CONTEXT, [&] {
        emu::GuardedMemory::Allocation a;
        if (!memory().find(reinterpret_cast<void*>(at), 0, &a)) return (int)NOT_FOUND;
        if (base) *base = reinterpret_cast<Address>(a.at);
        if (bytes) *bytes = a.bytes;
        return 0;
    });
}

namespace {

// The attributes of cuda.h by number; widths as the driver writes them.
int pointer_attribute(void* out, int attribute, Address at) {
    emu::GuardedMemory::Allocation a;
    std::string why;
    if (!memory().find(reinterpret_cast<void*>(at), 0, &a, &why)) {
        if (why == "freed memory") complain(INVALID_VALUE, "0x%llx is freed memory", at);
        return INVALID_VALUE;
    }
    int kind = a.owner % 4;
    auto put = [&](auto value) { return memcpy(out, &value, sizeof value), 0; };
    switch (attribute) {
        case 1: return put(static_cast<void*>(numbered(a.owner / 4)));
        case 2: return put(kind == PINNED_MEMORY ? 1u : 2u);
        case 3: return put(at);
        case 4: return kind == DEVICE_MEMORY ? (int)INVALID_VALUE : put(at);
        case 7: return put(reinterpret_cast<uint64_t>(a.at));
        case 8: return put((unsigned char)(kind == MANAGED_MEMORY));
        case 9: return put(numbered(a.owner / 4)->device);
        case 11: return put(reinterpret_cast<Address>(a.at));
        case 12: return put(a.bytes);
        case 13: return put((unsigned char)1);
    }
    return complain(INVALID_VALUE, "pointer attribute %d is not known to the fake driver", attribute);
}

}  // namespace

EXPORT int cuPointerGetAttribute(void* out, int attribute, Address at) {
    return call("cuPointerGetAttribute", INITIALISED, [&] { return pointer_attribute(out, attribute, at); });
}
EXPORT int cuPointerGetAttributes(unsigned count, const int* attributes, void** out, Address at) {
    return call("cuPointerGetAttributes", INITIALISED, [&] {
        // Unlike the single query, unknown memory is no error here: its attributes are zero.
        emu::GuardedMemory::Allocation a;
        bool known = memory().find(reinterpret_cast<void*>(at), 0, &a);
        for (unsigned i = 0; i < count; i++) {
            bool wide = attributes[i] == 1 || attributes[i] == 3 || attributes[i] == 4 ||
                        attributes[i] == 7 || attributes[i] == 11 || attributes[i] == 12;
            memset(out[i], 0, wide ? 8 : attributes[i] == 8 || attributes[i] == 13 ? 1 : 4);
            if (known) pointer_attribute(out[i], attributes[i], at);
        }
        return 0;
    });
}

// For tests: bytes of device memory in use.
EXPORT unsigned long long fake_cuda_memory_in_use(int device) {
    std::lock_guard guard(fake::lock);
    return in_use[device];
}

// What a device's primary context holds, in words, for tests; until the next call.
EXPORT const char* fake_cuda_holdings(int device) {
    std::lock_guard guard(fake::lock);
    static std::string all;
    all = leaks(primary(device));
    return all.c_str();
}
