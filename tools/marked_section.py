"""The part of a page that a tool writes: between a start and an end marker."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def replace_section(page: str, text: str, start: str, end: str, new: str) -> str:
    """``text`` with ``new`` between the markers; exits with a sentence if ``page`` lacks them."""
    if text.count(start) != 1 or text.count(end) != 1:
        sys.exit(f"{page} must hold {start} and {end} once each")
    head, _, rest = text.partition(start)
    return f"{head}{start}\n{new}\n{end}{rest.partition(end)[2]}"


def update_page(page: str, start: str, end: str, make: Callable[[], str], tool: str) -> int:
    """The command line of a tool that writes one section of ``page``, or only checks it.

    Returns 1 if the page is out of date and --check was given.
    """
    parser = argparse.ArgumentParser(prog=tool)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    text = (ROOT / page).read_text()
    wanted = replace_section(page, text, start, end, make())
    if wanted == text:
        return 0
    if check:
        print(f"{page} is out of date: run python tools/{tool}", file=sys.stderr)
        return 1
    (ROOT / page).write_text(wanted)
    return 0
