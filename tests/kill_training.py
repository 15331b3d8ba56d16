"""Kills `cnnkern train` at random moments and resumes it, until the run is complete.

python tests/kill_training.py --kills 10

A run of the same length that nobody disturbs tells what must come out: the same bits in every
weight, in the optimiser and in the history. After every kill the checkpoint, if there is one, must
load, and be no older than the one before.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from cnnkern.train import Checkpoint, load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
STEPS_PER_EPOCH = 12  # of 1,437 digits, 128 a step


def command(checkpoint: Path, epochs: int) -> list[str]:
    """Small, but with everything that has a state: momenta, schedule, order, augmentation."""
    options = "--model lenet5 --batch-size 128 --optimizer adamw --schedule one-cycle"
    return [
        *(sys.executable, "-m", "cnnkern", "train", *options.split()),
        *("--augment", "mirror", "--epochs", str(epochs), "--checkpoint", str(checkpoint)),
    ]


def start(checkpoint: Path, epochs: int) -> subprocess.Popen[str]:
    resume = ["--resume", str(checkpoint)] if checkpoint.exists() else []
    return subprocess.Popen(
        command(checkpoint, epochs) + resume,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(checkpoint: Path, epochs: int) -> Checkpoint:
    process = start(checkpoint, epochs)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return load_checkpoint(checkpoint)


def steps(checkpoint: Path) -> int:
    """How far the checkpoint came; it must load if it is there."""
    return len(load_checkpoint(checkpoint).history.step_losses) if checkpoint.exists() else 0


def interrupt(checkpoint: Path, epochs: int, kind: signal.Signals, delay: float) -> int:
    """Waits for the next checkpoint, sends the signal ``delay`` seconds later; the exit code."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = start(checkpoint, epochs)
    while process.poll() is None:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
            time.sleep(delay)
            process.send_signal(kind)
            break
        time.sleep(0.001)
    process.communicate(timeout=120)
    return process.returncode


def same(a: object, b: object) -> bool:
    """Equal bit for bit, whatever is nested."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, type(a)) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def check_equal(resumed: Checkpoint, whole: Checkpoint) -> None:
    for part in ("model", "optimizer", "scheduler"):
        assert same(getattr(resumed, part), getattr(whole, part)), f"{part} differs"
    assert resumed.history == whole.history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    draw = random.Random(arguments.seed)
    epochs = 3 * arguments.kills + 2  # a kill comes one or two epochs after the last one
    with tempfile.TemporaryDirectory() as name:
        undisturbed = Path(name) / "whole.pt"
        process = start(undisturbed, epochs)
        while process.poll() is None and not undisturbed.exists():
            time.sleep(0.001)
        first = time.perf_counter()
        output, _ = process.communicate()
        assert process.returncode == 0, output
        one_epoch = (time.perf_counter() - first) / (epochs - 1)
        print(f"undisturbed: {epochs} epochs, {one_epoch:.2f} s each", flush=True)
        whole = load_checkpoint(undisturbed)
        checkpoint = Path(name) / "killed.pt"
        for number in range(1, arguments.kills + 1):
            before = steps(checkpoint)
            code = interrupt(checkpoint, epochs, signal.SIGKILL, draw.uniform(0, one_epoch))
            assert code == -signal.SIGKILL, f"the run ended with {code} before it was killed"
            after = steps(checkpoint)
            assert after > before, "a checkpoint was lost"
            print(f"kill {number}: the checkpoint has {after} steps", flush=True)
        check_equal(finish(checkpoint, epochs), whole)
    print("resumed and undisturbed run are equal bit for bit")


if __name__ == "__main__":
    main()
