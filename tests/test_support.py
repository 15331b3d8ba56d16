"""README's support matrix says what the exact tests recorded (test_exact.py holds the record)."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "update_support.py"


def test_readme_agrees_with_the_record():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
