"""Training that is killed or asked to stop, then resumed, ends with the same bits."""

import random
import signal
from pathlib import Path

import kill_training as kill

from cnnkern.train import load_checkpoint

EPOCHS = 6


def test_killed_twice_and_stopped_in_mid_epoch(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    file, seed = tmp_path / "killed" / "run.pt", random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(2):
        before = kill.steps(file)
        code = kill.interrupt(file, EPOCHS, signal.SIGKILL, draw.uniform(0, 0.15))
        assert code == -signal.SIGKILL
        assert kill.steps(file) > before, "a checkpoint was lost"

    assert kill.interrupt(file, EPOCHS, signal.SIGTERM, 0) == 128 + signal.SIGTERM
    assert 0 < load_checkpoint(file).partial["steps"] <= kill.STEPS_PER_EPOCH

    kill.check_equal(kill.finish(file, EPOCHS), kill.finish(tmp_path / "whole.pt", EPOCHS))
    assert [path.name for path in file.parent.iterdir()] == ["run.pt"], "no half file is left"
