#!/bin/sh
# Makes the Python environments of the tests, each only when its requirements changed:
#
#   build/.venv              tests, demo and lint; TensorFlow as the peer
#   build/.venv-mindspore    MindSpore, which needs NumPy below 2
#   build/.venv-frameworks   PyTorch, JAX, and Keras over each; the benchmark too
#   build/.venv-wheel        what builds the wheel
#
# Usage: environments.sh [main|mindspore|frameworks|wheel]...    (the first three without an argument)
#
# SAMPLED_SOFTMAX_PYTHON names the interpreter (python3). Where a peer cannot be
# installed for it, that is said here, the environment is made without the peer, and its
# tests count as not run; with SAMPLED_SOFTMAX_REQUIRE_ALL=1 it is a failure.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${SAMPLED_SOFTMAX_PYTHON:-python3}
mkdir -p "$root/build"

# make_environment NAME REQUIREMENTS: fails where something cannot be installed.
make_environment() {
    environment=$root/build/$1
    requirements=$2
    stamp=$environment/requirements.stamp

    # The stamp holds all that the environment follows from.
    wanted=$("$python" -c 'import sys; print(sys.version)' && cat "$requirements") || return 1
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return 0
    fi

    echo "environments: making build/$1"
    # A link, where an earlier run had to do without the peer.
    rm -rf "$environment"
    "$python" -m venv "$environment" || return 1
    # Wheels only: compiling a package takes longer than all tests together.
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        --only-binary :all: --requirement "$requirements" || return 1
    printf '%s\n' "$wanted" >"$stamp"
}

do_without() {
    echo "environments: $1 CANNOT BE INSTALLED for $("$python" --version)," \
        "its differential tests will not run" >&2
    [ "${SAMPLED_SOFTMAX_REQUIRE_ALL:-0}" != 1 ] || exit 1
}

make_main() {
    all=$root/tests/python/requirements.txt
    if ! make_environment .venv "$all"; then
        do_without tensorflow-cpu
        grep -v '^tensorflow-cpu' "$all" >"$root/build/requirements-without-peer.txt"
        make_environment .venv "$root/build/requirements-without-peer.txt" || exit 1
    fi
}

make_mindspore() {
    if ! make_environment .venv-mindspore "$root/tests/python/requirements-mindspore.txt"; then
        do_without mindspore
        # The tests then find no MindSpore in the main environment, and say so.
        make_main
        rm -rf "$root/build/.venv-mindspore"
        ln -s .venv "$root/build/.venv-mindspore"
    fi
}

# Here each framework can be missing by itself; tests and benchmark name those that are.
make_frameworks() {
    all=$root/tests/python/requirements-frameworks.txt
    make_environment .venv-frameworks "$all" && return 0
    possible=$root/build/requirements-frameworks.txt
    grep -v '^[^#]*# framework$' "$all" >"$possible"
    make_environment .venv-frameworks "$possible" || exit 1
    grep '^[^#]*# framework$' "$all" | while read -r framework _; do
        echo "$framework" >>"$possible"
        make_environment .venv-frameworks "$possible" && continue
        echo "environments: $framework CANNOT BE INSTALLED for $("$python" --version)," \
            "tests and benchmark run without it" >&2
        [ "${SAMPLED_SOFTMAX_REQUIRE_ALL:-0}" != 1 ] || exit 1
        sed -i '$d' "$possible"
        make_environment .venv-frameworks "$possible" || exit 1
    done
}

[ $# -gt 0 ] || set -- main mindspore frameworks
for name in "$@"; do
    case $name in
    main) make_main ;;
    mindspore) make_mindspore ;;
    frameworks) make_frameworks ;;
    wheel) make_environment .venv-wheel "$root/bindings/python/requirements-wheel.txt" ;;
    *)
        echo "environments: unknown environment '$name'" >&2
        exit 2
        ;;
    esac
done
