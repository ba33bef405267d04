"""The table and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PEERS = ("eager", "torch.compile", "chunked cuBLAS")


def _both(row: dict[str, Any], name: str) -> float:
    """Seconds of a forward and backward."""
    return row["seconds"][f"{name} forward_backward"]


def print_table(rows: list[dict[str, Any]], machine: dict[str, Any], *, header: bool) -> None:
    """Microseconds; share of the floor; times faster than each peer; MiB beside each."""
    if header:
        rates = machine["matrix_operations_per_second"]
        print(
            f"{machine['device']}, driver {machine['driver']}, torch {machine['torch']}: "
            f"bf16 {rates['bf16'] / 1e12:.0f}, f32 {rates['f32'] / 1e12:.0f} TFLOP/s, "
            f"copy {machine['copy_bytes_per_second'] / 1e12:.2f} TB/s"
        )
        peers = "".join(f"{peer:>22}" for peer in PEERS)
        print(f"{'shape':<24}{'type':<6}{'floor':>8}{'fwd':>9}{'bwd':>9}{'both':>9}{'floor':>7}{'MiB':>8}{peers}")
    for row in rows:
        shape = row["shape"]
        size = f"{shape['name']} {shape['rows']}x{shape['dim']}x{shape['sampled']}"
        both = _both(row, "ours")
        forward, backward = (row["seconds"][f"ours {kind}"] for kind in ("forward", "backward"))
        peers = "".join(
            f"{_both(row, peer) * 1e6:>8.0f}{_both(row, peer) / both:>6.1f}x{row['extra_bytes'][peer] / 2**20:>7.0f}"
            for peer in PEERS
        )
        print(
            f"{size:<24}{row['dtype']:<6}{row['floor_seconds'] * 1e6:>8.0f}{forward * 1e6:>9.0f}"
            f"{backward * 1e6:>9.0f}{both * 1e6:>9.0f}{row['floor_seconds'] / both:>7.0%}"
            f"{row['extra_bytes']['ours'] / 2**20:>8.1f}{peers}",
            flush=True,
        )
        for other in ("ours hopper", "ours tf32", "ours ieee"):
            if f"{other} forward_backward" in row["seconds"]:
                print(f"{'':<24}{other[5:]:<6}{'':>26}{_both(row, other) * 1e6:>9.0f}")


def plot(rows: list[dict[str, Any]], machine: dict[str, Any], path: Path) -> None:
    """Bars of every participant as multiples of the floor, one panel a type."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = ("ours", *PEERS)
    types = sorted({row["dtype"] for row in rows})
    figure, panels = plt.subplots(len(types), 1, figsize=(11, 4 * len(types)), squeeze=False)
    for panel, dtype in zip(panels[:, 0], types, strict=True):
        of_type = [row for row in rows if row["dtype"] == dtype]
        for index, name in enumerate(names):
            heights = [_both(row, name) / row["floor_seconds"] for row in of_type]
            places = [place + (index - 1.5) * 0.2 for place in range(len(of_type))]
            bars = panel.bar(places, heights, 0.2, label=name)
            panel.bar_label(bars, fmt="%.1f", fontsize=7)
        panel.axhline(1, color="black", linewidth=1)
        panel.set_yscale("log")
        panel.set_xticks(range(len(of_type)), [row["shape"]["name"] for row in of_type])
        panel.set_ylabel(f"{dtype}: time / floor")
        panel.legend(ncols=len(names), fontsize=8)
    panels[0, 0].set_title(f"Forward and backward on {machine['device']}; the line is the hardware's floor")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
