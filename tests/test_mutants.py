"""Planted bugs: the emulator is believed because it catches them."""

import re

import pytest
from mutants import build, cpp_build
from mutants_index import INDEX
from mutants_offset import CUTS
from mutants_sync import SYNC

MUTANTS = [*SYNC, *INDEX, *CUTS]


@pytest.fixture(scope="module")
def programs(request, tmp_path_factory):
    """The folder of each selected mutant's program; all are compiled at a time."""
    wanted = {item.callspec.params["mutant"] for item in request.session.items if is_mutant(item)}
    return build([m for m in MUTANTS if m in wanted], tmp_path_factory.mktemp("mutants"))


def is_mutant(item) -> bool:
    return item.path.name == "test_mutants.py" and hasattr(item, "callspec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant_is_caught(programs, mutant):
    healthy = mutant.run(cpp_build.build("fast"))
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    sick = mutant.run(programs[mutant])
    assert sick.returncode == 1, f"nobody noticed:\n{sick.stdout}{sick.stderr}"
    assert "FAILED run_" in sick.stdout, sick.stdout
    assert re.search(mutant.report, sick.stdout), sick.stdout
