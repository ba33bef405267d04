#!/bin/sh
# Everything that needs a GPU, on a machine with Python, PyTorch, pytest and the built
# library (no Rust, no compiler):
#
#   tests/gpu/run.sh [first] [tests] [sanitize] [bench]      all four without an argument
#
#   first      does an image of each NVRTC found here load under this driver; compute capability 9.0: are
#              descriptors what the hardware takes them for
#   tests      the suite of this folder
#   sanitize   compute-sanitizer's memcheck, racecheck, initcheck and synccheck on small cases
#   bench      benches/gpu, into $OUT (build/gpu)
#
# SAMPLED_SOFTMAX_LIB names the library; target/release is looked in without it.
set -eu
cd "$(dirname "$0")/../.."
out=${OUT:-build/gpu}
mkdir -p "$out"
export PYTHONUNBUFFERED=1
[ $# -gt 0 ] || set -- first tests sanitize bench

# Small enough for tools that slow a kernel down a hundredfold, and yet every kernel.
checked='test_shapes_and_types and (77 or 37) or test_options and 300 or test_label_out_of_range or test_steps_beside and 77'

for part in "$@"; do
    case $part in
    first) python3 -m pytest tests/gpu/test_first.py tests/gpu/test_hopper.py --verbose ;;
    tests) python3 -m pytest tests/gpu --quiet ;;
    sanitize)
        for tool in memcheck racecheck initcheck synccheck; do
            compute-sanitizer --tool "$tool" --error-exitcode 9 --target-processes all \
                --log-file "$out/$tool.log" \
                python3 -m pytest tests/gpu --quiet -k "$checked" || {
                tail -40 "$out/$tool.log"
                exit 1
            }
        done
        ;;
    bench) python3 -m benches.gpu --out "$out" ;;
    *)
        echo "run.sh: unknown part '$part'" >&2
        exit 2
        ;;
    esac
done
