"""What all sets of scenes have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import Dataset, default_collate

Sample = TypeVar("Sample", covariant=True)


class Scenes(Dataset[Sample], Generic[Sample]):
    """``length`` scenes, drawn when asked for.

    Args:
        length: how many; any number.
        seed: another seed, other scenes.
        held_out: drawn from material that is kept from training.

    Raises:
        ValueError: ``length`` is negative.
        IndexError: there is no scene of that number.
    """

    def __init__(self, length: int, seed: int = 0, held_out: bool = False) -> None:
        if length < 0:
            raise ValueError(f"{type(self).__name__}: length must be at least 0, but is {length}")
        self.length, self.seed, self.held_out = length, seed, held_out

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Sample:
        if not 0 <= number < self.length:
            raise IndexError(f"{type(self).__name__}: no scene {number}, there are {self.length}")
        return self.draw(np.random.default_rng([self.seed, self.held_out, number]))

    def batch(self, numbers: Iterable[int]) -> Any:
        """The scenes of these numbers, each part stacked along a new first axis."""
        return default_collate([self[int(number)] for number in numbers])

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Sample:
        """One scene, a function of ``rng`` and the split alone."""
