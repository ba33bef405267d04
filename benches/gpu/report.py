"""The table and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PEERS = ("eager", "torch.compile", "chunked cuBLAS", "CCE", "Liger")
ALL_CLASSES = ("CCE, all classes", "Liger, all classes")


def _both(row: dict[str, Any], name: str) -> float:
    """Seconds of a forward and backward."""
    return row["seconds"][f"{name} forward_backward"]


def _peer(row: dict[str, Any], peer: str, both: float) -> str:
    """Microseconds, times ours, MiB; a dash where it is absent."""
    if f"{peer} forward_backward" not in row["seconds"]:
        return f"{'-':>22}"
    time, memory = _both(row, peer), row["extra_bytes"][peer]
    return f"{time * 1e6:>8.0f}{time / both:>6.1f}x{memory / 2**20:>7.0f}"


def print_table(rows: list[dict[str, Any]], machine: dict[str, Any], *, header: bool) -> None:
    """Microseconds; TFLOP/s of 6 N S d; share of the floor; MiB; each peer's time, as times ours, MiB."""
    if header:
        rates = machine["matrix_operations_per_second"]
        print(
            f"{machine['device']}, driver {machine['driver']}, torch {machine['torch']}: "
            f"bf16 {rates['bf16'] / 1e12:.0f}, f32 {rates['f32'] / 1e12:.0f} TFLOP/s, "
            f"copy {machine['copy_bytes_per_second'] / 1e12:.2f} TB/s, "
            f"{machine['exponentials_per_second'] / 1e12:.2f} T exponentials/s"
        )
        peers = "".join(f"{peer:>22}" for peer in PEERS)
        ours = "".join(f"{name:>9}" for name in ("fwd", "bwd", "both", "TFLOP/s"))
        print(f"{'shape':<24}{'type':<6}{'floor':>8}{ours}{'floor':>7}{'MiB':>8}{peers}")
    for row in rows:
        shape = row["shape"]
        size = f"{shape['name']} {shape['rows']}x{shape['dim']}x{shape['sampled']}"
        both = _both(row, "ours")
        forward, backward = (row["seconds"][f"ours {kind}"] for kind in ("forward", "backward"))
        rate = row["operations_per_second"]["ours forward_backward"]
        print(
            f"{size:<24}{row['dtype']:<6}{row['floor_seconds'] * 1e6:>8.0f}{forward * 1e6:>9.0f}"
            f"{backward * 1e6:>9.0f}{both * 1e6:>9.0f}{rate / 1e12:>9.1f}{row['floor_seconds'] / both:>7.0%}"
            f"{row['extra_bytes']['ours'] / 2**20:>8.1f}{''.join(_peer(row, peer, both) for peer in PEERS)}",
            flush=True,
        )
        for other in ("ours hopper", "ours tf32", "ours ieee"):
            if f"{other} forward_backward" in row["seconds"]:
                print(f"{'':<24}{other[5:]:<6}{'':>26}{_both(row, other) * 1e6:>9.0f}")
        for name in ("ours", "ours hopper"):
            if f"{name} update" in row["seconds"]:
                time = row["seconds"][f"{name} update"]
                print(f"{'':<24}{'update' + name[4:]:<32}{time * 1e6:>9.0f}  ({shape['classes']:,} classes)")
        for peer in ALL_CLASSES:
            if f"{peer} forward_backward" in row["seconds"]:
                print(f"{'':<24}{peer} ({shape['classes']:,}):{_peer(row, peer, both)}")
        for peer, reason in row["absent"].items():
            print(f"{'':<24}ABSENT {peer}: {reason}", flush=True)


def plot(rows: list[dict[str, Any]], machine: dict[str, Any], path: Path) -> None:
    """Bars of every participant as multiples of the floor, one panel a type."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names, width = ("ours", *PEERS), 0.8 / (1 + len(PEERS))
    types = sorted({row["dtype"] for row in rows})
    figure, panels = plt.subplots(len(types), 1, figsize=(11, 4 * len(types)), squeeze=False)
    for panel, dtype in zip(panels[:, 0], types, strict=True):
        of_type = [row for row in rows if row["dtype"] == dtype]
        for index, name in enumerate(names):
            there = [place for place, row in enumerate(of_type) if f"{name} forward_backward" in row["seconds"]]
            heights = [_both(of_type[place], name) / of_type[place]["floor_seconds"] for place in there]
            places = [place + (index + 0.5 - len(names) / 2) * width for place in there]
            bars = panel.bar(places, heights, width, label=name if there else f"{name} (absent)")
            panel.bar_label(bars, fmt="%.1f", fontsize=7)
        panel.axhline(1, color="black", linewidth=1)
        panel.set_yscale("log")
        panel.set_xticks(range(len(of_type)), [row["shape"]["name"] for row in of_type])
        panel.set_ylabel(f"{dtype}: time / floor")
        panel.legend(ncols=len(names), fontsize=8)
    panels[0, 0].set_title(f"Forward and backward on {machine['device']}; the line is the hardware's floor")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
