"""Plants bugs in the kernels, one at a time, and asks whether the kernel tests see each.

    python3 tests/emu/mutants.py            all of them
    python3 tests/emu/mutants.py --quick    one of each kind
    python3 tests/emu/mutants.py attend     those whose name or file contains a word

A mutant is a line of MUTANTS: file of kernels/, test of tests/emu/ that must fail, what it is, the text that is
replaced and its replacement. A text that is no longer there exactly once is an error: the kernel has changed, and so
must its mutant.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "-std=c++17 -O1 -march=native -ffp-contract=off -fno-strict-aliasing -pthread -w".split()
SECONDS = 300


@dataclass
class Mutant:
    file: str
    test: str
    name: str
    text: str
    instead: str
    quick: bool = False

    def run(self) -> str | None:
        """The first line of what the test said, None if it saw nothing."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder)
            shutil.copytree(ROOT / "kernels", copy / "kernels")
            shutil.copytree(ROOT / "tests/emu", copy / "tests/emu")
            if self.text:
                (copy / "kernels" / self.file).write_text(self.changed())
            program = copy / "program"
            source = f"tests/emu/test_{self.test}.cpp"
            includes = ["-Ikernels", "-Itests/emu"]
            built = subprocess.run(["g++", *FLAGS, *includes, source, "-o", program], cwd=copy, capture_output=True, text=True)
            if built.returncode:
                sys.exit(f"{self.file}: {self.name}: does not compile:\n{built.stderr[:2000]}")
            environment = dict(os.environ, EMU_STOP="1")
            try:
                ran = subprocess.run([program], capture_output=True, text=True, timeout=SECONDS, env=environment)
            except subprocess.TimeoutExpired:
                return f"still running after {SECONDS} s"
            if ran.returncode == 0:
                return None
            return (ran.stderr.strip() or f"ended with {ran.returncode}").splitlines()[0]

    def changed(self) -> str:
        source = (ROOT / "kernels" / self.file).read_text()
        if source.count(self.text) != 1:
            sys.exit(f"{self.file}: {self.name}: the text is there {source.count(self.text)} times:\n{self.text}")
        return source.replace(self.text, self.instead)


BARRIER = "__syncthreads();"

MUTANTS = [
    # ---- attend.cuh
    Mutant("attend.cuh", "attend", "no barrier before a tile is used",
           f"copy_wait<0>();\n        // Tile and numbers are there for all, and all have done with the tile before.\n        {BARRIER}",
           "copy_wait<0>();", True),
    Mutant("attend.cuh", "attend", "no barrier before the first factors are used", f"{BARRIER}\n    Window of_q", "Window of_q"),
    Mutant("attend.cuh", "attend", "tile not waited for", "copy_wait<0>();\n        // Tile", "// Tile", True),
    Mutant("attend.cuh", "attend", "next tile loaded before the barrier",
           f"        {BARRIER}\n        if (tile + 1 < tiles) load_k(tile + 1);\n        copy_commit();",
           f"        if (tile + 1 < tiles) load_k(tile + 1);\n        copy_commit();\n        {BARRIER}", True),
    Mutant("attend.cuh", "attend", "barrier for half of the block",
           f"before.\n        {BARRIER}", f"before.\n        if (warp_id() < 2) {BARRIER}", True),
    Mutant("attend.cuh", "attend", "sums not rescaled when the largest logit grows",
           "if (any_rescaled(rescale)) multiply_all(out, rescale);", "", True),
    Mutant("attend.cuh", "attend", "columns of factor 0 leave their NaN", "by == 0.f ? 0.f : p", "p", True),
    Mutant("attend.cuh", "attend", "columns behind dim are written", "if (lane_col(n) < args.dim)", "", True),
    Mutant("attend.cuh", "attend", "numbers of the tile after next put in the wrong place",
           "keep_numbers(tile + 2, numbers)", "keep_numbers(tile + 1, numbers)"),
    Mutant("attend.cuh", "attend", "rows behind the last are written", "if (r >= args.rows) continue;", ""),
    # ---- logits.cuh
    Mutant("logits.cuh", "logits", "a slab too few waited for", "copy_wait<Shape::STAGES - 2>()", "copy_wait<Shape::STAGES - 1>()", True),
    Mutant("logits.cuh", "logits", "no barrier before a slab is used",
           f"overwritten.\n            {BARRIER}", "overwritten."),
    Mutant("logits.cuh", "logits", "next slab loaded before the barrier",
           f"            {BARRIER}\n            load_next(step + Shape::STAGES - 1);",
           f"            load_next(step + Shape::STAGES - 1);\n            {BARRIER}"),
    Mutant("logits.cuh", "logits", "slabs still in use when the parts are stored there",
           f"softmax.finish();\n    {BARRIER}", "softmax.finish();"),
    Mutant("logits.cuh", "logits", "parts of other warps read too early", f"{BARRIER}\n    int r = threadIdx.x;", "int r = threadIdx.x;", True),
    Mutant("logits.cuh", "logits", "sums of other warps read too early", f"{BARRIER}\n    int c = threadIdx.x;", "int c = threadIdx.x;"),
    Mutant("logits.cuh", "logits", "columns behind the last count",
           "column < end ? args.col_add[column] : -infinity()", "column < end ? args.col_add[column] : 0.f", True),
    Mutant("logits.cuh", "logits", "rows of factor 0 are read", "r < args.rows && args.row_factor[r] != 0.f", "r < args.rows"),
    # ---- product.cuh
    Mutant("product.cuh", "product", "a slab too few waited for", "copy_wait<Shape::STAGES - 2>()", "copy_wait<Shape::STAGES - 1>()"),
    Mutant("product.cuh", "product", "no barrier before a slab is used", f"overwritten.\n        {BARRIER}", "overwritten."),
    Mutant("product.cuh", "product", "does not accumulate", "if (args.accumulate)", "if (false)"),
    Mutant("product.cuh", "product", "rows of factor 0 are read", "(u32)(factors[i] != 0.f) << i", "1u << i"),
    # ---- what they share
    Mutant("epilogue.cuh", "logits", "largest logit not found over the quad", "return fmaxf(x, shuffle_xor(x, 2));", "return x;"),
    Mutant("epilogue.cuh", "logits", "row's sum not taken over the quad", "return x + shuffle_xor(x, 2);", "return x;", True),
    Mutant("epilogue.cuh", "logits", "column's sum not taken over all rows", "x += shuffle_xor(x, 8);\n    return", "return"),
    Mutant("epilogue.cuh", "attend", "a hit too many at the end of a tile", "next[m][half] < (u32)end", "next[m][half] <= (u32)end", True),
    Mutant("epilogue.cuh", "logits", "hit at the first column of a split is lost",
           "hits.list[middle] < (u32)first_col", "hits.list[middle] <= (u32)first_col"),
    Mutant("epilogue.cuh", "logits", "-inf minus -inf", "return max == -infinity() ? 0.f : max;", "return max;"),
    Mutant("load.cuh", "logits", "elements behind a row are read", "column < window.chunks && wanted", "wanted"),
    Mutant("load.cuh", "attend", "rows behind the last are read", "window.row + row < window.rows && ", ""),
    Mutant("arithmetic/fragments.cuh", "logits", "lanes of fragment a give the wrong rows",
           "ldmatrix(r, tile.at(row, chunk, lane & 15, lane >> 4));", "ldmatrix(r, tile.at(row, chunk, lane & 15, lane >> 3 & 1));", True),
    Mutant("arithmetic/fragments.cuh", "logits", "lanes of fragment b give the wrong rows",
           "ldmatrix(r, tile.at(column, chunk, (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1));",
           "ldmatrix(r, tile.at(column, chunk, lane & 15, lane >> 4));"),
    Mutant("arithmetic/fragments.cuh", "product", "lanes of the transposed fragment give the wrong rows",
           "depth, chunk, lane & 15, lane >> 4", "depth, chunk, lane & 7, lane >> 4"),
    Mutant("arithmetic/sixteen_bit.cuh", "attend", "halves of the probabilities swapped", "acc[step * 2 + i / 2]", "acc[step * 2 + 1 - i / 2]"),
    # ---- the small kernels
    Mutant("reduction.cuh", "reduce", "sums of other warps read too early",
           f"room[warp_id()] = value;\n    {BARRIER}", "room[warp_id()] = value;", True),
    Mutant("reduction.cuh", "reduce", "room used again too early",
           f"value = combine(room[lane_id()]);\n    {BARRIER}", "value = combine(room[lane_id()]);"),
    Mutant("reduction.cuh", "merge", "prefix sum takes what is not before it", "if (lane_id() >= by) sum += other;", "sum += other;"),
    Mutant("sort.cuh", "sort", "no barrier between the steps", f"        {BARRIER}\n        for (int pair", "        for (int pair", True),
    Mutant("sort.cuh", "sort", "no barrier before the keys are written back", f"work(keys, count, base);\n    {BARRIER}", "work(keys, count, base);"),
    Mutant("sort.cuh", "sort", "order of a pair by its place in the block", "((base + low) & run_after) == 0", "(low & run_after) == 0"),
    Mutant("columns.cuh", "columns", "only one lane's copies of a class", "sum = warp_sum(sum);", "", True),
    Mutant("columns.cuh", "columns", "a copy too many", "first_key(cls + 1, a.index_bits)", "first_key(cls + 2, a.index_bits)"),
    Mutant("rows.cuh", "rows", "no order between the steps of a sort", "            __syncwarp();\n            for (i64 i = lane_id(); i < count", "            for (i64 i = lane_id(); i < count"),
    Mutant("rows.cuh", "rows", "copies of a hit across two warps' worth stay", "last = shuffle(hit, 31);", "last = shuffle(hit, 30);"),
    Mutant("rows.cuh", "rows", "dead rows have true logits", "if (state == ROW_LIVE) {\n            i64 label", "if (true) {\n            i64 label"),
    Mutant("loss.cuh", "loss", "small losses lose their digits", "confident ? log1p(sampled) : log(sampled + labels)", "log(sampled + labels)"),
    Mutant("loss.cuh", "loss", "a part that is all off counts", "part.y != 0.f && part.x * LN_2 > most", "part.x * LN_2 > most"),
    Mutant("loss.cuh", "reduce", "probabilities overflow float16", "14 - exponent", "16 - exponent"),
    Mutant("gradients.cuh", "gradients", "parts of factor 0 are read", "if (factor == 0.f) continue;", ""),
    Mutant("gradients.cuh", "gradients", "a class hits the next one's rows", "first_key(cls + 1, a.label_bits)", "first_key(cls + 2, a.label_bits)"),
    Mutant("merge.cuh", "merge", "sums of other groups read too early",
           f"sums[threadIdx.x * 8 + i] = sum.x[i];\n        {BARRIER}", "sums[threadIdx.x * 8 + i] = sum.x[i];", True),
    Mutant("merge.cuh", "merge", "sums overwritten too early", f"        }}\n        {BARRIER}\n    }}\n}}", "        }\n    }\n}"),
    Mutant("merge.cuh", "merge", "labels behind the last piece are lost", "side < (cut ? 2 : 1)", "side < 1"),
    Mutant("merge.cuh", "merge", "row ids behind the last are left as they were", "a.row_ids[i] = -1", "a.row_ids[i] = a.row_ids[i]"),
]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if m.quick or not options.quick]
    if options.words:
        chosen = [m for m in chosen if any(word in f"{m.file} {m.name}" for word in options.words)]
    for mutant in MUTANTS:
        mutant.changed()
    # Without a bug the tests pass; otherwise nothing below would mean anything.
    sound = [Mutant("", test, "no bug", "", "") for test in sorted({m.test for m in chosen})]
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, said in zip(sound, pool.map(Mutant.run, sound), strict=True):
            if said:
                sys.exit(f"test_{mutant.test} fails without a bug: {said}")
        missed = 0
        for mutant, said in zip(chosen, pool.map(Mutant.run, chosen), strict=True):
            missed += said is None
            print(f"{'caught' if said else 'MISSED'}  {mutant.file}: {mutant.name}" + (f"  [{said[:90]}]" if said else ""), flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted bugs caught")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
