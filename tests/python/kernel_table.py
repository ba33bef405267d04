"""Compiles every kernel of kernels/instances.def with the real NVRTC, as the library does: headers from memory,
no toolkit. Gives what ptxas says of each: registers, stack, spills, shared memory.

    python tests/python/kernel_table.py            say where tests/kernels/registers.txt no longer holds
    python tests/python/kernel_table.py --update   write it

NVRTC is a wheel from PyPI, unpacked under build/nvrtc; no GPU is needed. What was compiled is kept under
build/kernel_table until a source changes.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
REQUIREMENTS = ROOT / "tests" / "kernels" / "requirements.txt"
TABLE = ROOT / "tests" / "kernels" / "registers.txt"

# 7.5 is the oldest that CUDA 13 knows, and has no bf16 in its tensor cores: it gets the kernels of plain float32.
ARCHITECTURES = (75, 80, 90, 100)
FIRST_WITH_TENSOR_CORES = 80
# Kernels of this suffix are for one architecture, compiled for sm_90a.
SPECIFIC, SPECIFIC_ARCHITECTURE = "_wgmma", 90
OPTIONS = ["--std=c++17", "--ptxas-options=-v"]
# A kernel may need so many registers more than the table says before somebody has to look.
SLACK = 8


@dataclass(frozen=True)
class Usage:
    """What one kernel needs on one architecture: registers a thread, the rest in bytes."""

    registers: int
    stack: int
    spills: int
    shared: int  # static; the dynamic part is in instances.def


@dataclass(frozen=True)
class Instance:
    kernel: str
    arguments: str

    @property
    def symbol(self) -> str:
        return "_".join([self.kernel, *re.findall(r"\w+", self.arguments)])

    @property
    def is_specific(self) -> bool:
        return self.kernel.endswith(SPECIFIC)

    @property
    def group(self) -> str:
        """Those of one arithmetic are compiled together."""
        arithmetic = self.arguments.partition(",")[0] or "small"
        return arithmetic + SPECIFIC if self.is_specific else arithmetic

    def runs_on(self, architecture: int) -> bool:
        if self.is_specific:
            return architecture == SPECIFIC_ARCHITECTURE
        return architecture >= FIRST_WITH_TENSOR_CORES or self.group in ("small", "Fma")


def instances() -> list[Instance]:
    text = (KERNELS / "instances.def").read_text()
    return [Instance(*found) for found in re.findall(r"^INSTANCE\((\w+), \((.*?)\),", text, re.MULTILINE)]


def headers() -> dict[str, str]:
    return {str(path.relative_to(KERNELS)): path.read_text() for path in sorted(KERNELS.rglob("*.cuh"))}


def main_source(members: list[Instance], texts: dict[str, str]) -> str:
    includes = dict.fromkeys(
        name for member in members for name, text in texts.items() if f"#define INSTANTIATE_{member.kernel}(" in text
    )
    lines = [f'#include "{name}"' for name in includes]
    return "\n".join(lines + [f"INSTANTIATE_{member.kernel}({member.arguments})" for member in members]) + "\n"


def reachable(source: str, texts: dict[str, str]) -> dict[str, str]:
    """The headers that `source` includes, and those that they do."""
    found: dict[str, str] = {}
    waiting = re.findall(r'#include "(.*?)"', source)
    while waiting:
        name = waiting.pop()
        if name in texts and name not in found:
            found[name] = texts[name]
            waiting += re.findall(r'#include "(.*?)"', texts[name])
    return dict(sorted(found.items()))


class Nvrtc:
    """The four calls that are needed. Raises OSError where there is no NVRTC and none can be installed."""

    def __init__(self) -> None:
        libraries = sorted(self._installed().rglob("libnvrtc*.so.*"))
        builtins = next(path for path in libraries if "builtins" in path.name)
        self._builtins = ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)  # NVRTC itself does not find it
        self._library = ctypes.CDLL(str(next(path for path in libraries if re.match(r"libnvrtc\.so", path.name))))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    @staticmethod
    def _installed() -> Path:
        wanted = REQUIREMENTS.read_text()
        folder = ROOT / "build" / "nvrtc" / hashlib.sha256(wanted.encode()).hexdigest()[:16]
        if not folder.is_dir():
            partial = folder.with_suffix(f".{os.getpid()}")
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--only-binary", ":all:", "--target", str(partial), "--requirement", str(REQUIREMENTS)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise OSError(f"NVRTC cannot be installed: {done.stderr.strip()}")
            partial.rename(folder)
        return folder

    def compile(self, source: str, texts: dict[str, str], architecture: str) -> str:
        """The log of a compilation; its failure is a RuntimeError with the log."""
        names, contents = ([x.encode() for x in part] for part in (texts.keys(), texts.values()))
        options = [x.encode() for x in [f"--gpu-architecture={architecture}", *OPTIONS]]
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program), source.encode(), b"main.cu", len(names), _array(contents), _array(names)
            )
        )
        try:
            code = self._library.nvrtcCompileProgram(program, len(options), _array(options))
            size = ctypes.c_size_t()
            self._check(self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
            log = ctypes.create_string_buffer(size.value)
            self._check(self._library.nvrtcGetProgramLog(program, log))
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))
        text = log.value.decode()
        if code != 0:
            raise RuntimeError(f"{architecture}: NVRTC gives {code}:\n{text}")
        return text

    def _check(self, code: int) -> None:
        if code != 0:
            raise RuntimeError(self._library.nvrtcGetErrorString(code).decode())


def _array(strings: list[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(strings))(*strings)


def usages(log: str) -> dict[str, Usage]:
    """What ptxas's notes say of each kernel."""
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        symbol = part[: part.index("'")]

        def number(pattern: str, text: str = part) -> int:
            match = re.search(pattern, text)
            return int(match.group(1)) if match else 0

        spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
        registers, shared = number(r"Used (\d+) registers"), number(r"(\d+) bytes smem")
        if not registers:
            raise RuntimeError(f"{symbol}: ptxas's notes were not understood:\n{part}")
        found[symbol] = Usage(registers, number(r"(\d+) bytes stack frame"), spills, shared)
    return found


def measure(report=lambda text: None) -> dict[str, dict[int, Usage]]:
    """Usage by symbol and architecture of all there are."""
    texts, nvrtc = headers(), None
    compiler = [REQUIREMENTS.read_text(), OPTIONS, inspect.getsource(usages)]
    table: dict[str, dict[int, Usage]] = {}
    for architecture in ARCHITECTURES:
        groups: dict[str, list[Instance]] = {}
        for instance in instances():
            if instance.runs_on(architecture):
                groups.setdefault(instance.group, []).append(instance)
        for group, members in groups.items():
            source = main_source(members, texts)
            needed = reachable(source, texts)
            key = hashlib.sha256(json.dumps([architecture, source, needed, compiler]).encode()).hexdigest()
            kept = ROOT / "build" / "kernel_table" / f"{key}.json"
            if not kept.is_file():
                target = f"sm_{architecture}{'a' if members[0].is_specific else ''}"
                report(f"compiling {group} for {target}")
                nvrtc = nvrtc or Nvrtc()
                log = nvrtc.compile(source, needed, target)
                if slow := re.search(r".*wgmma.*serialized.*|.*setmaxnreg.*ignored.*", log):
                    raise RuntimeError(f"{target}: {slow.group()}")
                found = usages(log)
                kept.parent.mkdir(parents=True, exist_ok=True)
                partial = kept.with_suffix(f".{os.getpid()}")
                partial.write_text(json.dumps({symbol: asdict(usage) for symbol, usage in found.items()}))
                partial.rename(kept)
            for symbol, numbers in json.loads(kept.read_text()).items():
                table.setdefault(symbol, {})[architecture] = Usage(**numbers)
    return table


HEADING = """\
# Every kernel as NVRTC compiles it: registers a thread / static shared memory in bytes, for each architecture.
# Those by wgmma are for sm_90a.
# Spills are not listed: there are none, and tests/python/test_kernel_table.py fails where there are.
# Written by tests/python/kernel_table.py --update with {version}.
"""


def write_table(table: dict[str, dict[int, Usage]]) -> str:
    version = REQUIREMENTS.read_text().splitlines()[-1].replace("==", " ")
    lines = [HEADING.format(version=version) + "kernel".ljust(32) + "".join(f"sm_{a}".rjust(12) for a in ARCHITECTURES)]
    for instance in instances():
        of_kernel = table.get(instance.symbol, {})
        cells = [f"{of_kernel[a].registers}/{of_kernel[a].shared}" if a in of_kernel else "-" for a in ARCHITECTURES]
        lines.append(instance.symbol.ljust(32) + "".join(cell.rjust(12) for cell in cells))
    return "\n".join(lines) + "\n"


def read_table() -> dict[str, dict[int, tuple[int, int]]]:
    """Registers and static shared memory, as committed."""
    lines = [line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    architectures = [int(name.removeprefix("sm_")) for name in lines[0][1:]]
    return {
        symbol: {
            a: tuple(map(int, cell.split("/"))) for a, cell in zip(architectures, cells, strict=True) if cell != "-"
        }
        for symbol, *cells in lines[1:]
    }


def differences(table: dict[str, dict[int, Usage]]) -> list[str]:
    """Where kernels spill, are missing, or need more than the committed table says."""
    committed, found = read_table(), []
    for symbol in sorted(committed.keys() | table.keys()):
        if symbol not in table or symbol not in committed:
            found.append(f"{symbol}: in {'the table' if symbol in committed else 'instances.def'} only")
            continue
        for architecture, usage in table[symbol].items():
            where = f"{symbol} on sm_{architecture}"
            if usage.spills:
                found.append(f"{where}: {usage.spills} bytes spilled")
            if architecture not in committed[symbol]:
                found.append(f"{where}: not in the table")
                continue
            registers, shared = committed[symbol][architecture]
            if usage.registers > registers + SLACK:
                found.append(f"{where}: {usage.registers} registers, {registers} in the table (slack {SLACK})")
            if usage.shared != shared:
                found.append(f"{where}: {usage.shared} bytes of static shared memory, {shared} in the table")
    return found


def main() -> int:
    table = measure(lambda text: print(text, file=sys.stderr))
    if "--update" in sys.argv:
        TABLE.write_text(write_table(table))
    problems = differences(table)
    print("\n".join(problems) if problems else f"{len(table)} kernels as in {TABLE.relative_to(ROOT)}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
