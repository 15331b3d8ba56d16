"""Fills the figures in docs/*.md from recorded results, or checks that they agree.

    python tools/update_docs.py FOLDER       record the results in FOLDER (out/gallery), then fill
    python tools/update_docs.py              fill from what is recorded
    python tools/update_docs.py --check      exit with 1 and a sentence if they are out of date

Recorded results lie in docs/gallery: JSON files and their pictures. Below a line
<!-- figures: STEM --> stands the table of STEM.json.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
# The marker, then the lines of a table, if there are any yet.
PLACE = re.compile(r"^<!-- figures: (?P<stem>\w+) -->\n(?:\|.*\n)*", re.MULTILINE)


def record(source: Path, docs: Path) -> None:
    """Copies the results in ``source`` and their pictures to docs/gallery."""
    (docs / "gallery").mkdir(exist_ok=True)
    for file in sorted(source.glob("*.json")):
        shutil.copy(file, docs / "gallery")
        for picture in json.loads(file.read_text())["pictures"]:
            shutil.copy(source / picture, docs / "gallery")


def table(stem: str, docs: Path) -> str:
    """The Markdown of one result: its command and its figures."""
    file = docs / "gallery" / f"{stem}.json"
    if not file.exists():
        sys.exit(f"{file} is missing; run: make examples, python tools/update_docs.py out/gallery")
    result = json.loads(file.read_text())
    rows = [f"| {name} | {value:.4g} |" for name, value in result["figures"].items()]
    head = f"| `{result['command']}` | measured |"
    return "\n".join([head, "|---|---:|", *rows]) + "\n"


def filled(text: str, docs: Path) -> str:
    """``text`` with the present table below every marker."""
    return PLACE.sub(
        lambda found: f"<!-- figures: {found['stem']} -->\n{table(found['stem'], docs)}", text
    )


def main(arguments: list[str] | None = None, docs: Path = DOCS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", type=Path, help="a folder of new results")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if out of date")
    options = parser.parse_args(arguments)
    if options.source:
        record(options.source, docs)
    for page in sorted(docs.glob("*.md")):
        text = page.read_text()
        new_text = filled(text, docs)
        if new_text == text:
            continue
        if options.check:
            sys.exit(
                f"docs/{page.name} disagrees with docs/gallery; run: python tools/update_docs.py"
            )
        page.write_text(new_text)


if __name__ == "__main__":
    main()
