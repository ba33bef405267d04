#!/bin/sh
# Runs what watches a whole process; a single report is a failure.
#
#   memcheck   C and C++ programs under valgrind: every function of the header with every
#              sampler, from several threads, on the CPU engine
#   address    the library and its Rust tests with AddressSanitizer and LeakSanitizer
#   thread     the library, its Rust tests and the standard library with ThreadSanitizer
#   undefined  C and C++ programs, the C++ binding and the emulated kernels with
#              AddressSanitizer and UndefinedBehaviorSanitizer
#
# Usage: sanitize.sh [memcheck|address|thread|undefined]...      (all without an argument)
#
# What is missing here is said, and is a failure with SAMPLED_SOFTMAX_REQUIRE_ALL=1.
#
# Not covered:
#   Helgrind and DRD know the locks of pthreads alone. The library has none: its threads
#   meet at atomics and at the standard library's futexes, and all that these order is
#   reported. ThreadSanitizer, which is compiled into both, sees them.
#   ThreadSanitizer does not follow the emulator's fibers, so that it watches the CPU
#   engine, the sampler and the handles, and not the thread that draws ahead for a device.
#   Valgrind takes a switch between the emulator's fibers for use of memory that was never
#   written; on the emulated driver AddressSanitizer watches.
#   Valgrind (3.19) has no AVX-512, so that memcheck runs the kernels for AVX2; the others
#   run those of the machine.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
out=$root/build/sanitize
target=x86_64-unknown-linux-gnu
failed=
mkdir -p "$out"

missing() {
    echo "sanitize: NOT RUN: $1" >&2
    [ "${SAMPLED_SOFTMAX_REQUIRE_ALL:-0}" != 1 ] || failed="$failed $1;"
}

# watch NAME COMMAND...: counts as failed if the command does.
watch() {
    name=$1
    log="$out/$(echo "$name" | tr -s ': ' '-').log"
    shift
    if "$@" >"$log" 2>&1; then
        echo "sanitize: clean: $name"
    else
        echo "sanitize: FAILED: $name; the end of $log:" >&2
        tail -n 100 "$log" >&2
        failed="$failed $name;"
    fi
}

# programs FLAGS...: the programs of the other parts, into $out. The examples train for a
# few steps only.
programs() {
    for example in c/train.c cpp/train.cpp; do
        sed -E 's/(STEPS = |kSteps = |steps = )[0-9]+/\14/' "examples/$example" >"$out/${example#*/}"
    done
    library="-Ltarget/release -lsampled_softmax -lm -pthread"
    for source in tests/c/init.c tests/c/link_all.c tests/c/every_function.c "$out/train.c"; do
        # shellcheck disable=SC2086
        gcc -std=c11 -g -O1 "$@" -Iinclude "$source" -o "$out/$(basename "$source" .c)" $library
    done
    for source in tests/c/binding.cpp "$out/train.cpp"; do
        # shellcheck disable=SC2086
        g++ -std=c++17 -g -O1 "$@" -Iinclude -Ibindings/cpp "$source" -o "$out/$(basename "$source" .cpp)_cpp" $library
    done
}

# The names that `programs` gives them.
PROGRAMS="init link_all every_function train binding_cpp train_cpp"

on_cpu() {
    env LD_LIBRARY_PATH="$root/target/release" "$@"
}

memcheck() {
    if ! command -v valgrind >/dev/null; then
        missing "memcheck: there is no valgrind"
        return
    fi
    programs
    for program in $PROGRAMS; do
        watch "memcheck: $program" on_cpu env SAMPLED_SOFTMAX_ISA=avx2 \
            valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect \
            --show-leak-kinds=definite,indirect "$out/$program"
    done
}

# The compiler's sanitizers are not stable; the variable lets a stable compiler have them.
address() {
    if [ ! -e "$(rustc --print sysroot)/lib/rustlib/$target/lib/librustc-stable_rt.asan.a" ]; then
        missing "address: this Rust has no AddressSanitizer for $target"
        return
    fi
    # Without those that count in an allocator of their own. A forked child that exits has lost the threads
    # whose stacks led to what lives: all of that would count as leaked.
    tests=$(grep -L counting_allocator tests/*.rs | sed -E 's|tests/(.*)[.]rs|--test \1|' | grep -v fork)
    run="env RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=allocator_may_return_null=1"
    tester="cargo test --locked --quiet --no-fail-fast --target $target --target-dir $out/address"
    # shellcheck disable=SC2086
    watch "address: Rust" $run $tester --lib $tests
    # shellcheck disable=SC2086
    watch "address: fork" $run:detect_leaks=0 $tester --test fork
}

thread() {
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/src" ]; then
        missing "thread: the standard library's source is not there: rustup component add rust-src"
        return
    fi
    tests="cargo test --locked --quiet -Zbuild-std --target $target --target-dir $out/thread"
    # shellcheck disable=SC2086
    watch "thread: the library" env RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread $tests --lib -- team sampler registry
    # shellcheck disable=SC2086
    watch "thread: calls" env RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread $tests \
        --test thread_count --test determinism --test handles --test sampling --test learned_sampler
}

undefined() {
    programs -fsanitize=address,undefined -fno-sanitize-recover=undefined
    for program in $PROGRAMS; do
        watch "undefined: $program" on_cpu "$out/$program"
    done
    watch "undefined: emulated kernels" make --silent -C tests/emu test UBSAN=1
}

cargo build --release --locked --quiet
ln -sf libsampled_softmax.so target/release/libsampled_softmax.so.0
make --silent emu
[ $# -gt 0 ] || set -- memcheck address thread undefined
for part in "$@"; do
    case $part in
    memcheck | address | thread | undefined) "$part" ;;
    *)
        echo "sanitize: unknown part '$part'" >&2
        exit 2
        ;;
    esac
done
if [ -n "$failed" ]; then
    echo "sanitize: failed:$failed" >&2
    exit 1
fi
