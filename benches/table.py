"""The results as tables to read."""

from __future__ import annotations

from .shapes import BACKWARD, FORWARD

MODE_NAMES = {FORWARD: "forward", BACKWARD: "forward + backward"}
_COLUMNS = ("participant", "time", "spread", "GFLOP/s", "of floor", "x best peer", "x own f32", "extra memory")


def duration(seconds: float) -> str:
    """In the unit that leaves one to three digits before the point."""
    unit, scale = next(
        (one for one in (("s", 1.0), ("ms", 1e3)) if seconds * one[1] >= 1),
        ("us", 1e6),
    )
    value = seconds * scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def size(count: float) -> str:
    """Bytes, in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def columns(rows: list[tuple[str, ...]]) -> str:
    """Aligned, the first column to the left; a rule below the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _cells(row: dict) -> tuple[str, ...]:
    spread = (row["most_seconds"] - row["least_seconds"]) / row["seconds"]
    times = row["times_best_peer"]
    return (
        row["participant"],
        duration(row["seconds"]),
        f"{spread:.0%}",
        f"{row['flops_per_second'] / 1e9:.1f}",
        f"{row['share_of_floor']:.1%}",
        "-" if times is None else f"{times:.2f}",
        "-" if row["times_own_f32"] is None else f"{row['times_own_f32']:.2f}",
        size(row["peak_extra_bytes"]),
    )


def shape_tables(summary: dict) -> str:
    """Both modes of one shape, and whoever could not take part."""
    shape = summary["shape"]
    parts = []
    for mode, name in MODE_NAMES.items():
        sizes = f"N = {shape['N']:,}, d = {shape['d']}, C = {shape['C']:,}, S = {shape['S']:,}"
        rows = [_cells(row) for row in summary["rows"] if row["mode"] == mode]
        parts.append(f"\n{shape['name']} ({sizes}): {name}\n{columns([_COLUMNS, *rows])}")
    parts += [f"MISSING: {name}: {reason}" for name, reason in summary["failed"].items()]
    parts.append(
        f"other processes used {summary['other_processes_share_of_cores']:.1%} of the cores, "
        f"workers that were not measured {summary['idle_workers_share_of_cores']:.1%}"
    )
    return "\n".join(parts)


def floors(facts: dict) -> str:
    """The machine's limits in a line."""
    bf16 = facts["fma_bf16_flops"]["median"]
    return (
        f"floor: {facts['fma_f32_flops']['median'] / 1e9:.0f} GFLOP/s in float32, "
        + (f"{bf16 / 1e9:.0f} in bfloat16" if bf16 else "no bfloat16 instructions")
        + f"; memory {facts['memory_read']['median'] / 1e9:.1f} GB/s read, "
        f"{facts['memory_copy']['median'] / 1e9:.1f} copied"
    )


def sampler_table(rows: list[dict]) -> str:
    """Seconds a draw, one core."""
    names = list(rows[0]["seconds"])
    body = [
        (
            row["sampler"],
            f"{row['S']:,}",
            f"{row['C']:,}",
            *(duration(row["seconds"][name]) if name in row["seconds"] else "-" for name in names),
        )
        for row in rows
    ]
    return "\nsampler alone, distinct classes with their expected counts, one core\n" + columns(
        [("sampler", "S", "C", *names), *body]
    )
