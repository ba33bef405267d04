// The emulator finds what it is there to find: each planted bug below is reported, and the same kernel
// without it runs.
#include "check.h"

struct Args {
    const float* in;
    float* out;
    int count, bug;
};
enum Bug {
    NONE,
    MISSING_BARRIER,
    MISSING_WAIT,
    DIVERGENT_BARRIER,
    BARRIER_AFTER_RETURN,
    REFILL_BEFORE_BARRIER,
    PARTIAL_WARP,
    DIVERGENT_WARP,
    SHARED_ARRAY_OVERRUN,
    SHARED_OVERRUN,
    READ_PAST_END,
    MISALIGNED_COPY,
    MISALIGNED_LOAD,
    READ_BEFORE_WRITE
};

// Two buffers of a matrix each; every warp reads rows that the other warp has copied.
DEV void pipeline(const Args& a) {
    DYN_SMEM(bf16, buffers);
    int other = threadIdx.x ^ 32;
    u32 r[4] = {}, sum = 0;
    auto issue = [&](int step) {
        const float* from = a.in + (step * 64 + threadIdx.x) * 4;
        copy16(buffers + (step % 2 * 64 + threadIdx.x) * 8 + (a.bug == MISALIGNED_COPY), from,
               step < a.count);
        copy_commit();
    };
    issue(0);
    for (int step = 0; step < a.count; step++) {
        if (a.bug == REFILL_BEFORE_BARRIER) issue(step + 1);
        if (a.bug == MISSING_WAIT) copy_wait<1>();
        else copy_wait<0>();
        if (a.bug == DIVERGENT_BARRIER && warp_id() == 1) __syncthreads();
        else if (a.bug != MISSING_BARRIER) __syncthreads();
        ldmatrix(r, buffers + (step % 2 * 64 + other) * 8);
        sum = sum * 9 + r[0] + 3 * r[1] + 5 * r[2] + 7 * r[3];
        if (a.bug != REFILL_BEFORE_BARRIER) issue(step + 1);
    }
    copy_wait<0>();
    a.out[threadIdx.x] = (float)((sum ^ sum >> 16) & 0xffff);
}
ENTRY(pipeline, Args, 64, 1, pipeline(args))

// Plain loads and stores, as the small kernels have them.
DEV void reverse(const Args& a) {
    SHARED_ARRAY(float, values, 64);
    DYN_SMEM(float, more);
    int i = threadIdx.x, n = a.count;
    if (a.bug == BARRIER_AFTER_RETURN && i >= 40) return;
    if (a.bug != READ_BEFORE_WRITE || i != 5) values[i] = a.in[i + (a.bug == READ_PAST_END ? n : 0)];
    if (a.bug == SHARED_ARRAY_OVERRUN && i == 0) values[64 + n % 8] = 1.f;
    if (a.bug == SHARED_OVERRUN && i == 0) more[32] = 1.f;
    if (a.bug != MISSING_BARRIER) __syncthreads();
    float x = values[63 - i];
    if (a.bug == MISALIGNED_LOAD) x = load_vector<float4>(a.in + 1).x;
    if (a.bug == DIVERGENT_WARP && i % 2) x += shuffle_xor(x, 1) - (float)warp_any(true);
    else if (a.bug == DIVERGENT_WARP) x += shuffle_up(x, 1);
    if (a.bug == PARTIAL_WARP && i < 7) return;
    x += shuffle_xor(x, 1) * 0.f;
    a.out[i] = x;
}
ENTRY(reverse, Args, 64, 1, reverse(args))

struct Setting {
    emu::Array<float> in{64 * 4 * 8}, out{64};
    Setting() {
        for (size_t i = 0; i < in.size(); i++) in[i] = (float)(i * 37 % 101);
    }
    void run(const char* kernel, Bug bug, const emu::Mode& mode = emu::Mode(), int count = 8) {
        emu::launch(kernel, dim3(1), dim3(64), kernel[0] == 'p' ? 2048 : 128,
                    Args{in.data(), out.data(), count, bug}, mode);
    }
    // Some mode gives other bits than the first.
    bool bits_differ(const char* kernel, Bug bug) {
        run(kernel, NONE);
        std::vector<float> right(out.begin(), out.end());
        bool differ = false;
        for (emu::Mode mode : emu::modes()) {
            mode.races = false;
            run(kernel, bug, mode);
            differ |= memcmp(right.data(), out.data(), right.size() * sizeof(float)) != 0;
        }
        return differ;
    }
};

TEST(correct_kernels_give_the_same_bits_in_every_mode) {
    Setting s;
    CHECK(!s.bits_differ("pipeline", NONE), "pipeline");
    CHECK(!s.bits_differ("reverse", NONE), "reverse");
}
TEST(missing_barrier_is_a_race_and_shows_in_the_bits) {
    Setting s;
    REFUSED("no barrier between", s.run("pipeline", MISSING_BARRIER));
    CHECK(s.bits_differ("pipeline", MISSING_BARRIER), "pipeline");
    CHECK(s.bits_differ("reverse", MISSING_BARRIER), "reverse");
}
TEST(missing_wait_is_a_race_and_shows_in_the_bits) {
    Setting s;
    REFUSED("before the copy is waited for", s.run("pipeline", MISSING_WAIT));
    CHECK(s.bits_differ("pipeline", MISSING_WAIT), "pipeline");
}
TEST(refill_before_the_barrier_is_a_race_and_shows_in_the_bits) {
    Setting s;
    REFUSED("race", s.run("pipeline", REFILL_BEFORE_BARRIER));
    CHECK(s.bits_differ("pipeline", REFILL_BEFORE_BARRIER), "pipeline");
}
TEST(divergent_barrier_is_refused) {
    Setting s;
    for (const emu::Mode& mode : emu::modes()) {
        REFUSED("divergent barrier", s.run("pipeline", DIVERGENT_BARRIER, mode));
        REFUSED("__syncthreads", s.run("reverse", BARRIER_AFTER_RETURN, mode));
    }
}
TEST(partial_and_divergent_warps_are_refused) {
    Setting s;
    for (const emu::Mode& mode : emu::modes()) {
        REFUSED("wait", s.run("reverse", DIVERGENT_WARP, mode));
        REFUSED("shuffle_xor", s.run("reverse", PARTIAL_WARP, mode));
    }
}
TEST(accesses_out_of_bounds_are_refused) {
    Setting s;
    REFUSED("memory fault", s.run("reverse", READ_PAST_END, emu::Mode(), 64 * 4 * 8));
    REFUSED("offset 8192", s.run("reverse", READ_PAST_END, emu::Mode(), 64 * 4 * 8));
#if !defined(__SANITIZE_ADDRESS__)  // which ends the program at this one
    REFUSED("shared", s.run("reverse", SHARED_ARRAY_OVERRUN));
#endif
    REFUSED("shared", s.run("reverse", SHARED_OVERRUN));
}
TEST(misaligned_vectors_are_refused) {
    Setting s;
    REFUSED("no multiple of 16", s.run("pipeline", MISALIGNED_COPY));
    REFUSED("no multiple of 16", s.run("reverse", MISALIGNED_LOAD));
}
TEST(shared_memory_read_before_it_is_written_is_nan) {
    Setting s;
    s.run("reverse", READ_BEFORE_WRITE);
    CHECK(is_nan(s.out[58]), "out[58] = %g", s.out[58]);
}
TEST(launch_refuses_what_its_entry_does_not_allow) {
    Setting s;
    Args args{s.in.data(), s.out.data(), 8, NONE};
    REFUSED("more threads", emu::launch("reverse", dim3(1), dim3(96), 0, args));
    REFUSED("wrong size", emu::launch("reverse", dim3(1), dim3(64), 0, 7.0));
    REFUSED("no kernel", emu::launch("absent", dim3(1), dim3(64), 0, args));
}
TEST(freed_memory_cannot_be_read) {
    Setting s;
    const float* gone = emu::Array<float>(64).data();
    REFUSED("freed allocation",
            emu::launch("reverse", dim3(1), dim3(64), 128, Args{gone, s.out.data(), 64, NONE}));
}
