"""The picture: held-out perplexity against seconds of training, a line a run."""

from itertools import pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from .report import seconds_to_reach

#: Colours that differ to every kind of colour vision (Okabe and Ito 2008).
_SAMPLED_COLORS = ("#0072B2", "#009E73", "#CC79A7")
_FULL_COLOR = "#D55E00"
_GREY = "#555555"


def draw(path, sampled, full, title: str, subtitle: str):
    """Writes a PNG of the runs' points: `sampled`, a list, and `full`, a run or None.

    The y axis is logarithmic, so equal heights are equal factors of perplexity.
    """
    figure, axes = plt.subplots(figsize=(9, 5.6), dpi=150, layout="constrained")
    lines = list(zip(sampled, _SAMPLED_COLORS, strict=False))
    if full is not None:
        lines.append((full, _FULL_COLOR))
    for run, color in lines:
        axes.plot(
            [point.seconds for point in run.points],
            [point.perplexity for point in run.points],
            color=color,
            marker="o",
            markersize=4.5,
            linewidth=2,
            clip_on=False,
        )
    _scale(axes, [point for run, _ in lines for point in run.points])
    _label_ends(axes, lines)
    if full is not None:
        _mark_lead(axes, sampled, full.points[-1])
    axes.set_xlabel("seconds of training (evaluation not counted)")
    axes.set_ylabel("held-out perplexity, full softmax (log scale)")
    axes.set_title(title, loc="left", pad=42, fontsize=13, fontweight="bold")
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, fontsize=9.5, color=_GREY, linespacing=1.4)
    figure.savefig(path)
    plt.close(figure)


def _scale(axes, points):
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    lowest = min(point.perplexity for point in points)
    highest = max(point.perplexity for point in points)
    axes.set_ylim(lowest / 1.25, highest * 1.15)
    end = max(point.seconds for point in points) or 1
    axes.set_xlim(0, end)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_lead(axes, sampled, end):
    """A dotted line at the full softmax's last perplexity, from where the first sampled
    run to come down to it did so."""
    times = [time for run in sampled if (time := seconds_to_reach(run.points, end.perplexity))]
    if not times or min(times) >= end.seconds:
        return
    reached = min(times)
    axes.plot([reached, end.seconds], [end.perplexity] * 2, ":", color=_GREY, linewidth=1.4, zorder=1)
    axes.annotate(
        f"{end.perplexity:,.1f} after {reached:.1f} s: {end.seconds / reached:.1f} times sooner",
        xy=((reached + end.seconds) / 2, end.perplexity),
        xytext=(0, -5),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=9.5,
        color=_GREY,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


def _label_ends(axes, lines):
    """Each run's name and last perplexity to the right of its line, kept apart."""
    height = axes.transAxes.inverted().transform
    ends = []
    for run, color in lines:
        point = run.points[-1]
        at = height(axes.transData.transform((point.seconds, point.perplexity)))[1]
        text = f"{run.name}\nperplexity {point.perplexity:,.1f}"
        ends.append([at, text, color])
    gap = 0.11
    ends.sort(key=lambda end: end[0])
    for below, above in pairwise(ends):
        above[0] = max(above[0], below[0] + gap)
    for at, text, color in ends:
        axes.annotate(
            text,
            xy=(1, at),
            xycoords="axes fraction",
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=10,
            fontweight="bold",
        )
