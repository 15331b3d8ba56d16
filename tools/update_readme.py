"""Writes README's benchmark section from the newest recorded rows, or checks that it agrees.

    python tools/update_readme.py            rewrite the section and docs/benchmark.png
    python tools/update_readme.py --check    exit with 1 and a sentence if they are out of date

The section lies between <!-- benchmark:start --> and <!-- benchmark:end -->.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import astuple
from pathlib import Path

from marked_section import replace_section
from PIL import Image

from cnnkern.bench import Row, draw_ratios, read_rows
from cnnkern.bench.record import newest_run
from cnnkern.bench.table import geometric_mean

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "benchmark.png"
NETS = {"lenet5": "LeNet-5", "alexnet": "AlexNet", "resnet50": "ResNet-50"}
PASSES = {
    "fprop": "convolution forward",
    "dgrad": "convolution, input gradient",
    "wgrad": "convolution, weight gradient",
    "forward": "max pool forward",
    "backward": "max pool backward",
}
START, END = "<!-- benchmark:start -->", "<!-- benchmark:end -->"


def newest_rows() -> list[list[Row]]:
    """The last recorded run on a CPU of each network that has one."""
    files = [ROOT / "benchmarks" / "results" / f"{net}.csv" for net in NETS]
    recorded = [
        [row for row in read_rows(file) if row.device == "cpu"] for file in files if file.exists()
    ]
    return [newest_run(rows) for rows in recorded if rows]


def section(nets: list[list[Row]]) -> str:
    """The Markdown between the markers: picture, table, and where the numbers come from."""
    lines = [
        "![Speed relative to PyTorch, layer by layer](docs/benchmark.png)",
        "",
        "| network, batch | pass | cnnkern [ms] | PyTorch [ms] | ratio | mean of ratios |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for rows in nets:
        batch = rows[0].problem.partition("c")[0].removeprefix("n")
        name = f"{NETS[rows[0].net]}, {batch}"
        for direction, text in PASSES.items():
            chosen = [row for row in rows if row.direction == direction]
            if not chosen:
                continue
            ours = sum(row.multiplicity * row.cnnkern_us for row in chosen) / 1e3
            theirs = sum(row.multiplicity * row.torch_us for row in chosen) / 1e3
            mean = geometric_mean([row.ratio for row in chosen])
            figures = f"{ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} | {mean:.2f}"
            lines.append(f"| {name} | {text} | {figures} |")
    every = [row for rows in nets for row in rows]
    first = every[0]
    versions = sorted({f"cnnkern {row.cnnkern} against PyTorch {row.torch}" for row in every})
    dates = " and ".join(sorted({row.date[:10] for row in every}))
    threads = f"{first.threads} thread{'' if first.threads == 1 else 's'}"
    lines += [
        "",
        f"{'; '.join(versions)} in its best memory format, float32, {first.machine}, "
        f"{threads}, {first.isa}, {dates}. A ratio above 1 means that cnnkern is "
        "faster. How a number is measured: [benchmarks/README.md](benchmarks/README.md).",
    ]
    return "\n".join(lines)


def fingerprint(nets: list[list[Row]]) -> str:
    """Ties the picture to the rows it shows; it is stored in the picture's metadata."""
    text = repr([astuple(row) for rows in nets for row in rows])
    return hashlib.sha256(text.encode()).hexdigest()


def check(new_text: str, text: str, nets: list[list[Row]]) -> None:
    remedy = "run: python tools/update_readme.py"
    if new_text != text:
        sys.exit(f"README.md's benchmark section disagrees with benchmarks/results; {remedy}")
    if not PICTURE.exists() or Image.open(PICTURE).info.get("Description") != fingerprint(nets):
        sys.exit(f"docs/benchmark.png does not show the newest rows; {remedy}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    arguments = parser.parse_args()
    nets = newest_rows()
    if not nets:
        sys.exit("benchmarks/results holds no rows; run: cnnkern bench lenet5")
    text = README.read_text()
    new_text = replace_section("README.md", text, START, END, section(nets))
    if arguments.check:
        check(new_text, text, nets)
    else:
        README.write_text(new_text)
        draw_ratios(nets, PICTURE, fingerprint(nets))


if __name__ == "__main__":
    main()
