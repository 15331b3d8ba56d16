"""Runs every script of examples/ and writes one page about all of them.

    python tools/gallery.py                  into out/gallery; open out/gallery/index.html
    python tools/gallery.py FOLDER           into another folder
    python tools/gallery.py --only pose      only scripts whose name contains "pose"

A script gets the folder as its argument, and leaves pictures and a JSON file there
(cnnkern.gallery). The page shows what the folder holds, also from earlier runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cnnkern.progress import progress_bar

ROOT = Path(__file__).resolve().parent.parent
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cnnkern: gallery</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
         padding: 0 1rem; color: #1f2937; }}
  section {{ border-top: 1px solid #e5e7eb; margin-top: 2.5rem; }}
  img {{ max-width: 100%; margin: .5rem 0; }}
  td {{ padding: .1rem 1.5rem .1rem 0; }}
  td + td {{ text-align: right; font-variant-numeric: tabular-nums; }}
  code {{ background: #f3f4f6; padding: .15rem .4rem; border-radius: 4px; }}
  a {{ color: #2f6fb0; }}
</style>
<h1>cnnkern: gallery</h1>
<p>What the examples measured and drew, {minutes:.1f} minutes of computing in all.</p>
<ul>
{contents}
</ul>
{sections}
</html>
"""


def scripts(folder: Path, only: str = "") -> list[Path]:
    """The Python files of ``folder`` that are programs."""
    files = [file for file in sorted(folder.glob("*.py")) if only in file.stem]
    return [file for file in files if '__name__ == "__main__"' in file.read_text()]


def run(script: Path, folder: Path) -> str:
    """Runs one script; returns the end of what it printed if it failed, else nothing."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return "" if done.returncode == 0 else done.stdout[-2000:] or f"exit {done.returncode}"


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Every result in ``folder``, by its stem, sorted by title."""
    found = {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}
    return dict(sorted(found.items(), key=lambda item: str(item[1]["title"])))


def section(stem: str, result: Mapping[str, Any]) -> str:
    """The HTML of one result."""
    rows = "\n".join(
        f"<tr><td>{escape(name)}</td><td>{value:.4g}</td></tr>"
        for name, value in result["figures"].items()
    )
    pictures = "\n".join(
        f'<img src="{escape(name)}" alt="{escape(result["title"])}: {escape(name)}" loading="lazy">'
        for name in result["pictures"]
    )
    return (
        f'<section id="{escape(stem)}">\n<h2>{escape(result["title"])}</h2>\n'
        f"<p><code>{escape(result['command'])}</code> took {result['seconds']:.1f} s</p>\n"
        f"<table>\n{rows}\n</table>\n{pictures}\n</section>"
    )


def write_page(folder: Path) -> Path:
    """Writes ``folder/index.html`` from the JSON files in it."""
    results = read_results(folder)
    text = PAGE.format(
        minutes=sum(result["seconds"] for result in results.values()) / 60,
        contents="\n".join(
            f'<li><a href="#{escape(stem)}">{escape(result["title"])}</a></li>'
            for stem, result in results.items()
        ),
        sections="\n".join(section(stem, result) for stem, result in results.items()),
    )
    page = folder / "index.html"
    temporary = page.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(page)
    return page


def main(
    folder: Annotated[Path, typer.Argument(help="Where everything goes.")] = Path("out/gallery"),
    only: Annotated[str, typer.Option(help="A part of the scripts' names.")] = "",
    examples: Annotated[Path, typer.Option(help="Where the scripts are.")] = ROOT / "examples",
) -> None:
    """Runs every example, then writes the page; exits with 1 if an example failed."""
    console = Console()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = scripts(examples, only)
    if not chosen:
        console.print(f"gallery: no script in {examples} has '{only}' in its name")
        raise typer.Exit(1)
    failed = 0
    with progress_bar(console) as bar:
        task = bar.add_task("", total=len(chosen))
        for script in chosen:
            bar.update(task, description=script.stem)
            start = time.perf_counter()
            trouble = run(script, folder)
            failed += bool(trouble)
            verdict = "failed" if trouble else "done"
            seconds = time.perf_counter() - start
            bar.print(f"{script.stem:24} {verdict} in {seconds:.0f} s", highlight=False)
            if trouble:
                bar.print(trouble, markup=False, highlight=False)
            bar.advance(task)
    console.print(f"wrote {write_page(folder)}", highlight=False)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
