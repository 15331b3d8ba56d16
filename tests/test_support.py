"""README's support matrix says what the exact tests ran: no less, and no more."""

import csv
import subprocess
import sys
from pathlib import Path

import cases
import pytest
import support

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "update_support.py"
REMEDY = "run the tests, then: python tools/update_support.py"


def complete(request) -> bool:
    """Whether every exact test of this version ran before, and none was left out."""
    config, session = request.config, request.session
    chosen = config.option.keyword or config.option.markexpr or any("::" in a for a in config.args)
    before = session.items[: session.items.index(request.node)]
    return not chosen and any(item.path.name == "test_exact.py" for item in before)


def test_readme_agrees_with_the_record():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_record_agrees_with_this_run(request):
    if not complete(request):
        pytest.skip("only a run of all exact tests sees every kernel")
    if reason := cases.has_emulator():
        pytest.skip(f"the record holds the emulator's runs: {reason}")
    seen = ROOT / "build" / "support.csv"
    seen.parent.mkdir(exist_ok=True)
    with seen.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(sorted(support.SEEN))
    with (ROOT / "docs" / "support.csv").open(newline="") as file:
        record = {tuple(row) for row in csv.reader(file)}
    missing, new = sorted(record - support.SEEN), sorted(support.SEEN - record)
    assert not missing, f"docs/support.csv claims what no test ran: {missing}; {REMEDY}"
    assert not new, f"docs/support.csv lacks what the tests ran: {new}; {REMEDY}"
