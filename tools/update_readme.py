"""Writes README's benchmark sections from the newest recorded rows, or checks that they agree.

    python tools/update_readme.py            rewrite the sections and their pictures in docs/
    python tools/update_readme.py --check    exit with 1 and a sentence if they are out of date

The CPU's section lies between <!-- benchmark:start --> and <!-- benchmark:end -->, the GPU's
between <!-- benchmark_gpu:start --> and <!-- benchmark_gpu:end -->; the latter stays as it is
while benchmarks/results holds no rows of a GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import gpu_section
from marked_section import replace_section
from PIL import Image

from cnnkern.bench import Row, draw_ratios, read_rows
from cnnkern.bench.record import newest_run
from cnnkern.bench.table import geometric_mean

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
NETS = {"lenet5": "LeNet-5", "alexnet": "AlexNet", "resnet50": "ResNet-50"}
PASSES = {
    "fprop": "convolution forward",
    "dgrad": "convolution, input gradient",
    "wgrad": "convolution, weight gradient",
    "forward": "max pool forward",
    "backward": "max pool backward",
}


@dataclass(frozen=True)
class Section:
    """One section: its markers' name, which is the picture's too, its text, the picture's rows."""

    name: str
    text: str
    panels: list[list[Row]]

    @property
    def picture(self) -> Path:
        return DOCS / f"{self.name}.png"

    def put_into(self, page: str) -> str:
        start, end = (f"<!-- {self.name}:{edge} -->" for edge in ("start", "end"))
        return replace_section("README.md", page, start, end, self.text)


def newest_rows() -> list[list[Row]]:
    """The last recorded run on a CPU of each network that has one."""
    files = [RESULTS / f"{net}.csv" for net in NETS]
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


def sections() -> list[Section]:
    """The CPU's section, and the GPU's if one has been timed."""
    nets, runs = newest_rows(), gpu_section.gpu_runs(RESULTS)
    if not nets:
        sys.exit("benchmarks/results holds no rows; run: cnnkern bench lenet5")
    found = [Section("benchmark", section(nets), nets)]
    if runs:
        text = gpu_section.section(runs, "docs/benchmark_gpu.png")
        found.append(Section("benchmark_gpu", text, gpu_section.panels(runs)))
    return found


def check(new_page: str, page: str, written: list[Section]) -> None:
    remedy = "run: python tools/update_readme.py"
    if new_page != page:
        sys.exit(f"README.md's benchmark section disagrees with benchmarks/results; {remedy}")
    for part in written:
        shown = part.picture.exists() and Image.open(part.picture).info.get("Description")
        if shown != fingerprint(part.panels):
            sys.exit(f"docs/{part.picture.name} does not show the newest rows; {remedy}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    arguments = parser.parse_args()
    written, page = sections(), README.read_text()
    new_page = page
    for part in written:
        new_page = part.put_into(new_page)
    if arguments.check:
        check(new_page, page, written)
        return
    README.write_text(new_page)
    for part in written:
        draw_ratios(part.panels, part.picture, fingerprint(part.panels))


if __name__ == "__main__":
    main()
