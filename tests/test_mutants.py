"""Planted bugs: the emulator is believed because it catches them.

PYTHONPATH=tests python tests/test_mutants.py     prints the table of csrc/emulator/README.md
"""

import re
from collections import Counter

import pytest
import test_oracles
import test_sass
import test_standin_device
from mutants import CSRC, build, cpp_build
from mutants_avg_pool import AVERAGES
from mutants_depthwise import DEPTHWISE
from mutants_epilogue import FUSED_OPERATION
from mutants_f64 import F64
from mutants_first_layer import FIRST_LAYER
from mutants_index import INDEX
from mutants_ladder import LADDER
from mutants_layout import LAYOUT
from mutants_offset import CUTS
from mutants_sync import SYNC
from mutants_taps import TAPS
from mutants_tf32 import TF32
from mutants_wgrad_mma import WGRAD_MMA_BUGS
from mutants_window_pool import WINDOWS
from mutants_winograd import WINOGRAD

MUTANTS = [
    *(*SYNC, *INDEX, *FUSED_OPERATION, *AVERAGES, *WINDOWS),
    *(*DEPTHWISE, *TAPS, *FIRST_LAYER, *WGRAD_MMA_BUGS, *LAYOUT, *CUTS, *LADDER),
    *(*WINOGRAD, *TF32, *F64),
]
NOTICED_BY = {
    "barrier": "the race table; lists of who waits where",
    "wait_group, commit_group": "the race table, NaN in what has not arrived, wrong results",
    "tile in registers": "wrong results, the race table",
    "zero-fill": "wrong results, bounds of the named tensors",
    "fragments exchanged": "wrong results",
    "rounding to tf32": "wrong results",
    "launch": "the launch's checks, bounds of the named tensors",
    "mask": "wrong results, bounds of the named tensors, collectives that a lane misses",
    "bound off by one": "wrong results, bounds of the named tensors",
    "stride, offset or tap": "wrong results, the race table",
    "fused operation": "wrong results, bounds of the named tensors",
    "32-bit offset": "sparse tensors of more than 2^31 elements",
}


@pytest.fixture(scope="module")
def programs(request, tmp_path_factory):
    """The folder of each selected mutant's program, all compiled at a time, and None's: no bug."""
    wanted = {item.callspec.params["mutant"] for item in request.session.items if is_mutant(item)}
    built = build([m for m in MUTANTS if m in wanted], tmp_path_factory.mktemp("mutants"))
    return {**built, None: cpp_build.build("fast")}


def is_mutant(item) -> bool:
    return item.path.name == "test_mutants.py" and hasattr(item, "callspec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant_is_caught(programs, mutant):
    healthy = mutant.run(programs[None])
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    sick = mutant.run(programs[mutant])
    assert sick.returncode == 1, f"nobody noticed:\n{sick.stdout}{sick.stderr}"
    assert "FAILED run_" in sick.stdout, sick.stdout
    assert re.search(mutant.report, sick.stdout), sick.stdout


def table() -> str:
    """Kinds of planted bugs, how many there are, and what goes red."""
    counts = Counter(mutant.kind for mutant in MUTANTS)
    healthy = sum(mutant.name.startswith("healthy") for mutant in test_sass.MUTANTS)
    rows = [(kind, counts[kind], "kernels in the emulator", NOTICED_BY[kind]) for kind in counts]
    rows += [
        (
            "fragments exchanged, `.trans` dropped",
            *(len(test_oracles.LAYOUT_EDITS), "twins of ldmatrix and mma", "CuTe's layouts"),
        ),
        (
            "operand, type, `.trans`, zero-fill or cache hint",
            *(len(test_oracles.CODE_EDITS), "assembly of the primitives"),
            "machine code of CuTe's wrappers and of CUDA's intrinsics",
        ),
        (
            "barrier, wait or commit",
            *(len(test_sass.MUTANTS) - healthy, "machine code of the kernels"),
            "`tools/check_sass.py`",
        ),
        (
            "stream, device, allocation, capture, opt-in to shared memory",
            *(len(test_standin_device.BUGS) + 1, "launchers and operators"),
            "the stand-in GPUs",
        ),
    ]
    lines = ["| planted | how many | in | noticed by |", "|---|---:|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def test_the_table_of_the_readme():
    assert table() in (CSRC / "emulator" / "README.md").read_text()


if __name__ == "__main__":
    print(table())
