"""Plants the bugs of planted_bugs.diff in the kernels, one at a time, and asks whether the kernel tests see each.

    python3 tests/emu/mutants.py            all of them
    python3 tests/emu/mutants.py --quick    one of each kind
    python3 tests/emu/mutants.py attend     those whose file or name contains a word

Lines that are no longer there exactly once are an error: the kernel has changed, and so must its planted bug.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPILER = ["g++", "-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-pthread", "-w"]
SECONDS = 300


@dataclass
class Mutant:
    """Kernel test `test` must fail once `before` in `file` reads `after`."""

    file: str
    test: str
    name: str
    quick: bool = False
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def run(self) -> str | None:
        """The first line of what the test said, None if it saw nothing."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder)
            shutil.copytree(ROOT / "kernels", copy / "kernels")
            shutil.copytree(ROOT / "tests/emu", copy / "tests/emu")
            if self.before:
                (copy / "kernels" / self.file).write_text(self.changed())
            program = str(copy / "program")
            command = [*COMPILER, "-Ikernels", "-Itests/emu", f"tests/emu/test_{self.test}.cpp", "-o", program]
            built = subprocess.run(command, cwd=copy, capture_output=True, text=True)
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
        before, after = ("".join(line + "\n" for line in lines) for lines in (self.before, self.after))
        if source.count(before) != 1:
            sys.exit(f"{self.file}: {self.name}: these lines are there {source.count(before)} times:\n{before}")
        return source.replace(before, after)


def read_mutants() -> list[Mutant]:
    """Each begins with "== file test [quick]: name"; then the lines as they are ("-" and " ") and as they become."""
    mutants = []
    for line in (Path(__file__).parent / "planted_bugs.diff").read_text().splitlines():
        if header := re.fullmatch(r"== (\S+) (\w+)( quick)?: (.+)", line):
            file, test, quick, name = header.groups()
            mutants.append(Mutant(file, test, name, bool(quick)))
            continue
        if line[:1] in ("-", " "):
            mutants[-1].before.append(line[1:])
        if line[:1] in ("+", " "):
            mutants[-1].after.append(line[1:])
    return mutants


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    mutants = read_mutants()
    for mutant in mutants:
        mutant.changed()
    chosen = [mutant for mutant in mutants if mutant.quick or not options.quick]
    if options.words:
        chosen = [mutant for mutant in chosen if any(word in f"{mutant.file} {mutant.name}" for word in options.words)]
    # Without a bug the tests pass; otherwise nothing below would mean anything.
    sound = [Mutant("", test, "no bug") for test in sorted({mutant.test for mutant in chosen})]
    missed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, said in zip(sound, pool.map(Mutant.run, sound), strict=True):
            if said:
                sys.exit(f"test_{mutant.test} fails without a bug: {said}")
        for mutant, said in zip(chosen, pool.map(Mutant.run, chosen), strict=True):
            missed += said is None
            verdict, detail = ("caught", f"  [{said[:90]}]") if said else ("MISSED", "")
            print(f"{verdict}  {mutant.file}: {mutant.name}{detail}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} planted bugs caught")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
