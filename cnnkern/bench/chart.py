"""The picture of a benchmark: how much faster than PyTorch each layer is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from cnnkern.bench.record import Row

COLORS = {
    "fprop": "#2f6fb0",
    "dgrad": "#e07b39",
    "wgrad": "#5a9e6f",
    "forward": "#7a5ea8",
    "backward": "#b79ad1",
    "unfold": "#b8902f",
    "fold": "#d9bf7a",
}
NAMES = {"forward": "pooling", "backward": "pooling, backward"}
BAR = 0.26  # inches


def draw_ratios(nets: Sequence[Sequence[Row]], path: str | Path, description: str = "") -> Path:
    """One panel a network, one group of bars a layer, PyTorch's speed as a line at 1.

    Args:
        nets: for each network the rows of one run.
        description: stored in the file's metadata.
    """
    heights = [len(rows) + 0.6 * len({row.layer for row in rows}) for rows in nets]
    figure = Figure(figsize=(5.6 * len(nets) + 1, BAR * max(heights) + 1.6), layout="constrained")
    for axes, rows in zip(figure.subplots(1, len(nets), squeeze=False)[0], nets, strict=True):
        _draw_net(axes, rows)
    drawn = {row.direction for rows in nets for row in rows}
    patches = [Patch(color=c, label=NAMES.get(d, d)) for d, c in COLORS.items() if d in drawn]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    first = nets[0][0]
    plural = "" if first.threads == 1 else "s"
    where = first.machine if first.device == "cuda" else f"{first.machine}, {first.isa}"
    threads = "" if first.device == "cuda" else f", {first.threads} thread{plural}"
    figure.suptitle(
        f"Speed relative to PyTorch {first.torch} in its best memory format\n{where}{threads}",
        fontsize=11,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Description": description})
    return path


def _draw_net(axes: Axes, rows: Sequence[Row]) -> None:
    layers = list(dict.fromkeys(row.layer for row in rows))
    position, centres = 0.0, []
    for layer in layers:
        group = [row for row in rows if row.layer == layer]
        for row in group:
            axes.barh(position, row.ratio - 1, left=1, height=0.9, color=COLORS[row.direction])
            outside = 3 if row.ratio >= 1 else -3
            axes.annotate(
                f"{row.ratio:.2g}" if row.ratio < 0.1 else f"{row.ratio:.2f}",
                (row.ratio, position),
                xytext=(outside, 0),
                textcoords="offset points",
                ha="left" if outside > 0 else "right",
                va="center",
                fontsize=7.5,
            )
            position += 1
        centres.append(position - (len(group) + 1) / 2)
        position += 0.6
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(centres, layers)
    axes.set_ylim(position - 0.6, -1)
    axes.set_xscale("log", base=2)
    low = min(*(row.ratio for row in rows), 0.5)
    high = max(*(row.ratio for row in rows), 2)
    axes.set_xlim(low / 1.5, high * 1.5)
    first, last = math.ceil(math.log2(low / 1.5)), math.floor(math.log2(high * 1.5))
    step = 1 + (last - first) // 8
    ticks = [tick for tick in range(first, last + 1) if tick % step == 0]
    names = [f"{2**tick}×" if tick >= 0 else f"1/{2**-tick}×" for tick in ticks]
    axes.set_xticks([2.0**tick for tick in ticks], names)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(rows[0].net or "problems", fontsize=11)
    axes.set_xlabel("← PyTorch faster     cnnkern faster →", fontsize=9)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
