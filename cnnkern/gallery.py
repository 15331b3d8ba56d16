"""The gallery's pages: what an example measured and drew, as JSON beside its pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_result(
    folder: Path,
    stem: str,
    title: str,
    command: str,
    seconds: float,
    figures: Mapping[str, float],
    pictures: Sequence[str],
) -> Path:
    """Writes ``<folder>/<stem>.json``: one page of the gallery. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    result = {
        "title": title,
        "command": command,
        "seconds": round(seconds, 1),
        "figures": dict(figures),
        "pictures": list(pictures),
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=2) + "\n")
    os.replace(temporary, path)
    return path
