"""Which problems a benchmark consists of."""

from __future__ import annotations

from pathlib import Path

from cnnkern.problems import Problem, read

DIRECTIONS = {"fprop", "dgrad", "wgrad", "maxpool", "maxpool_backward"}

# Beside this file in an installed package, under benchmarks/ in a checkout.
_FOLDERS = (
    Path(__file__).parent / "problems",
    Path(__file__).parents[2] / "benchmarks" / "problems",
)


def list_nets() -> list[str]:
    """The networks whose layers :func:`read_net` knows, sorted."""
    return sorted({file.stem for folder in _FOLDERS for file in folder.glob("*.txt")})


def read_net(name: str | Path) -> list[str]:
    """The problem strings of a network, or of a text file with one problem a line.

    Raises:
        ValueError: there is no such network or file, or it holds no problem.
    """
    for file in (*(folder / f"{name}.txt" for folder in _FOLDERS), Path(name)):
        if file.is_file():
            break
    else:
        raise ValueError(
            f"'{name}' is neither a network ({', '.join(list_nets())}) nor a file of problems"
        )
    problems = [problem for line in read(file) for problem in expand(line)]
    if not problems:
        raise ValueError(f"{file}: holds no problem")
    return problems


def expand(problem: str) -> list[str]:
    """A convolution that names no direction stands for all three.

    Raises:
        ValueError: the string is no problem.
    """
    Problem.parse(problem)
    if DIRECTIONS.intersection(problem.split()):
        return [problem]
    return [f"{problem} {direction}" for direction in ("fprop", "dgrad", "wgrad")]
