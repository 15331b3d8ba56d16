"""README's summary of what tools/gpu_check.py timed on a GPU, for tools/update_readme.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cnnkern.bench import Row, ratios, read_rows
from cnnkern.bench.record import newest_run
from cnnkern.bench.table import geometric_mean

PRECISIONS = {"fp16": "float16", "bf16": "bfloat16", "tf32": "tf32", "fp32": "float32"}
FILES = {
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "googlenet": "GoogLeNet",
    "resnet50": "ResNet-50",
    "depthwise": "depthwise layers",
    "pooling": "pooling layers",
}
PASSES = {
    "fprop": "convolution forward",
    "dgrad": "convolution, input gradient",
    "wgrad": "convolution, weight gradient",
    "forward": "pooling forward",
    "backward": "pooling backward",
}


def gpu_runs(folder: Path) -> dict[str, list[Row]]:
    """The last recorded run on a GPU in each precision that has one."""
    files = {name: folder / f"gpu_{name}.csv" for name in PRECISIONS}
    recorded = {
        name: [row for row in read_rows(file) if row.device == "cuda"]
        for name, file in files.items()
        if file.exists()
    }
    return {name: newest_run(rows) for name, rows in recorded.items() if rows}


def chosen(rows: Sequence[Row], file: str, direction: str) -> list[Row]:
    return [row for row in rows if (row.net, row.direction) == (file, direction)]


def section(runs: Mapping[str, list[Row]], picture: str) -> str:
    """The Markdown: picture, table, and where the numbers come from."""
    lines = [
        f"![Speed relative to PyTorch on a GPU]({picture})",
        "",
        f"| layers | pass | {' | '.join(PRECISIONS[name] for name in runs)} |",
        f"|---|---|{'---:|' * len(runs)}",
    ]
    for file, layers in FILES.items():
        for direction, text in PASSES.items():
            found = [ratios(chosen(rows, file, direction), "best") for rows in runs.values()]
            if any(found):
                cells = (f"{geometric_mean(each):.2f} ({min(each):.2f})" if each else "–"
                         for each in found)  # fmt: skip
                lines.append(f"| {layers} | {text} | {' | '.join(cells)} |")
    every = [row for rows in runs.values() for row in rows]
    versions = sorted(
        {
            f"cnnkern {row.cnnkern} against PyTorch {row.torch} and its cuDNN on {row.machine} "
            f"({row.isa})"
            for row in every
        }
    )
    dates = " and ".join(sorted({row.date[:10] for row in every}))
    lines += [
        "",
        f"{'; '.join(versions)}, {dates}: PyTorch's time by cnnkern's, each in its faster memory "
        "format; the geometric mean of a line's layers, each counted once, and in brackets the "
        "least. A ratio above 1 means that cnnkern is faster, below 1 that PyTorch is.",
    ]
    return "\n".join(lines)


def panels(runs: Mapping[str, list[Row]]) -> list[list[Row]]:
    """For each precision, rows whose ratio is the mean of a file's layers in one direction."""
    return [
        [
            replace(
                found[0],
                net=PRECISIONS[name],
                layer=layers,
                ratio=geometric_mean(ratios(found, "best")),
            )
            for file, layers in FILES.items()
            for direction in PASSES
            if (found := chosen(rows, file, direction))
        ]
        for name, rows in runs.items()
    ]
