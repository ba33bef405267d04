"""The picture: speed of forward + backward as a share of the multiply-add peak."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from .shapes import BACKWARD
from .table import duration

# Ours in one hue, darker where the inputs are float32; the peers in grey, so that the eye
# compares the two groups. The floor is the only other colour (Okabe and Ito 2008).
_OURS, _OURS_LOW, _PEER, _FLOOR, _INK = "#0072B2", "#7FB8DA", "#B4B4B4", "#D55E00", "#333333"


def draw(path, results: dict) -> None:
    """Writes a PNG with a panel for each shape. Shares are of the float32 peak for every
    dtype: bfloat16 may go beyond it."""
    shapes = results["shapes"]
    wide = min(3, len(shapes))
    high = -(-len(shapes) // wide)
    most = max(len(summary["rows"]) for summary in shapes) // 2
    figure, axes = plt.subplots(
        high, wide, figsize=(4.6 * wide, (0.31 * most + 0.95) * high + 0.7), dpi=150, squeeze=False
    )
    for panel in axes.flat[len(shapes) :]:
        panel.set_visible(False)
    peak = results["floor"]["fma_f32_flops"]["median"]
    for number, (panel, summary) in enumerate(zip(axes.flat, shapes, strict=False)):
        leader = shapes[number - number % wide]
        # Names once a line of panels, unless somebody is missing from this one.
        names = summary is leader or _names(summary) != _names(leader)
        _panel(panel, summary, peak, names)
    machine = results["machine"]
    tall = figure.get_figheight()
    title = "Sampled softmax, forward + backward"
    # Places in inches from the top, whatever the number of panels.
    figure.text(0.012, 1 - 0.22 / tall, title, ha="left", va="center", fontsize=15, fontweight="bold", color=_INK)
    note = (
        f"Bars: share of the float32 multiply-add peak, {peak / 1e9:.0f} GFLOP/s measured in the same run (line). "
        f"Labels: time, and speed against the best peer. {machine['processor']}, {machine['threads']} threads."
    )
    figure.text(0.012, 1 - 0.5 / tall, note, ha="left", va="center", fontsize=9, color=_INK)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.65 / tall), w_pad=1.5, h_pad=1.2)
    figure.savefig(path)
    plt.close(figure)


def _names(summary: dict) -> list[str]:
    return [row["participant"] for row in summary["rows"] if row["mode"] == BACKWARD]


def _color(row: dict) -> str:
    if not row["ours"]:
        return _PEER
    return _OURS if row["dtype"] == "f32" else _OURS_LOW


def _factor(times: float) -> str:
    return f"{times:.0f}x" if times >= 10 else f"{times:.1f}x" if times >= 1 else f"{times:.2f}x"


def _panel(panel, summary: dict, peak: float, names: bool) -> None:
    rows = [row for row in summary["rows"] if row["mode"] == BACKWARD]
    shares = [100 * row["flops_per_second"] / peak for row in rows]
    places = range(len(rows))
    panel.barh(places, shares, height=0.72, color=[_color(row) for row in rows])
    panel.invert_yaxis()
    panel.axvline(100, color=_FLOOR, linewidth=1.6)
    widest = max(100.0, *shares)
    panel.set_xlim(0, 1.08 * widest)
    for place, row, share in zip(places, rows, shares, strict=True):
        times = row["times_best_peer"]
        best = row["participant"] == summary["best_peer"][BACKWARD]
        text = duration(row["seconds"]) + ("  best peer" if best else "" if times is None else f"  {_factor(times)}")
        # Inside the bar where it fits and the text beside it would cross the line.
        inside = share >= 100 or (share + 0.4 * widest > 100 and share > 0.3 * widest)
        # A bar that ends about at the line keeps its text clear of it.
        end = min(share, 99.5) if share < 125 else share
        panel.text(
            end - 0.015 * widest if inside else share + 0.015 * widest,
            place,
            text,
            va="center",
            ha="right" if inside else "left",
            fontsize=8,
            color="white" if inside and _color(row) == _OURS else _INK,
            fontweight="bold" if row["ours"] else "normal",
        )
    panel.set_yticks(places, _names(summary) if names else [""] * len(rows), fontsize=9)
    panel.tick_params(axis="y", length=0)
    ticks = range(0, int(widest) + 1, 25 if widest < 130 else 50)
    panel.set_xticks(ticks, [f"{tick} %" for tick in ticks], fontsize=8)
    panel.spines[["top", "right", "left"]].set_visible(False)
    shape = summary["shape"]
    sizes = f"N {shape['N']:,} · d {shape['d']} · C {shape['C']:,} · S {shape['S']:,}"
    panel.set_title(f"{shape['name']}\n{sizes}", loc="left", fontsize=9.5, color=_INK)
