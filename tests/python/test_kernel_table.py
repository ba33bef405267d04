"""Every kernel compiles with the real NVRTC for every architecture, spills nothing, and needs no more registers than
tests/kernels/registers.txt says. Once compiled, the result is kept until a source changes."""

from __future__ import annotations

import kernel_table
import pytest
from conftest import absent
from kernel_table import Usage


@pytest.fixture(scope="module")
def table() -> dict[str, dict[int, Usage]]:
    try:
        return kernel_table.measure()
    except OSError as error:
        absent(str(error))


def test_kernels_need_what_the_committed_table_says(table: dict[str, dict[int, Usage]]) -> None:
    problems = kernel_table.differences(table)
    assert not problems, "\n".join([*problems, "python tests/python/kernel_table.py --update accepts more registers"])


def test_every_instance_is_compiled_for_every_architecture(table: dict[str, dict[int, Usage]]) -> None:
    for instance in kernel_table.instances():
        wanted = {a for a in kernel_table.ARCHITECTURES if instance.runs_on(a)}
        assert table[instance.symbol].keys() == wanted, instance.symbol


def test_no_kernel_spills(table: dict[str, dict[int, Usage]]) -> None:
    assert [s for s, usages in table.items() for usage in usages.values() if usage.spills] == []


def test_shared_memory_fits(table: dict[str, dict[int, Usage]]) -> None:
    """Static and dynamic: 99 KiB with tensor cores, 227 KiB by wgmma, 64 KiB before, where attend is not used at 256
    elements."""
    text = (kernel_table.KERNELS / "instances.def").read_text()
    for line in text.splitlines():
        if not line.startswith("INSTANCE("):
            continue
        dynamic = int(line.rstrip(")").rsplit(",", 1)[1])
        (instance,) = [i for i in kernel_table.instances() if f"INSTANCE({i.kernel}, ({i.arguments})," in line]
        for architecture, usage in table[instance.symbol].items():
            if architecture == 75 and instance.symbol.startswith("attend_Fma_256"):
                continue
            limit = 64 if architecture == 75 else 227 if instance.is_specific else 99
            assert usage.shared + dynamic <= limit * 1024, f"{instance.symbol} on sm_{architecture}"


def test_a_spill_and_a_grown_kernel_are_reported(table: dict[str, dict[int, Usage]]) -> None:
    symbol, usages = next(iter(table.items()))
    first = usages[90]
    changed = {90: Usage(first.registers + kernel_table.SLACK + 1, 8, 16, first.shared + 4)}
    problems = kernel_table.differences({**table, symbol: {**usages, **changed}})
    assert [problem.split(": ")[1] for problem in problems if problem.startswith(f"{symbol} on sm_90")] == [
        "16 bytes spilled",
        f"{first.registers + 9} registers, {first.registers} in the table (slack 8)",
        f"{first.shared + 4} bytes of static shared memory, {first.shared} in the table",
    ]


def test_ptxas_notes_are_read() -> None:
    log = (
        "ptxas info    : Compiling entry function 'rows' for 'sm_90'\n"
        "ptxas info    : Function properties for rows\n"
        "    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 2048 bytes smem, 600 bytes cmem[0]\n"
    )
    assert kernel_table.usages(log) == {"rows": Usage(40, 16, 20, 2048)}
