#!/bin/sh
# Writes what `make emu` compiles, from kernels/instances.def: for each group of instances a main source as NVRTC gets
# it, and the text of every header for the fake NVRTC to compare with. A file that would not change is left alone.
#     sh instances.sh <kernels> <output folder>
set -eu
kernels=$1 out=$2
mkdir -p "$out"

replace() {
    if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# "attend Bf16 INSTANTIATE_attend(Bf16, 128, ONLINE)": kernel, group, line. A matrix kernel's group is its arithmetic.
lines=$(sed -n 's/^INSTANCE(\([a-z_]*\), (\([^)]*\)),.*/\1 \2|INSTANTIATE_\1(\2)/p' "$kernels/instances.def" |
    awk -F'|' '{ split($1, word, /[ ,]+/); print word[1], (word[2] == "" ? "small" : word[1] "_" word[2]), $2 }')

for group in $(echo "$lines" | cut -d' ' -f2 | sort -u); do
    members=$(echo "$lines" | awk -v group="$group" '$2 == group')
    {
        for kernel in $(echo "$members" | cut -d' ' -f1 | sort -u); do
            grep -l "^#define INSTANTIATE_$kernel(" "$kernels"/*.cuh
        done | sort -u | sed 's|.*/\(.*\)|#include "\1"|'
        echo "$members" | cut -d' ' -f3-
    } > "$out/$group.cpp.new"
    replace "$out/$group.cpp"
done

{
    for header in $(cd "$kernels" && find . -name '*.cuh' | sort | sed 's|^\./||'); do
        printf '{"%s",\nR"emu(' "$header"
        cat "$kernels/$header"
        printf ')emu"},\n'
    done
} > "$out/kernel_sources.inc.new"
replace "$out/kernel_sources.inc"
