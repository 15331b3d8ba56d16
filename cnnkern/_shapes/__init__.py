"""Output sizes, and the checks that fake kernels make: the same sentences as the kernels'.

Sizes may be symbolic; a 1-d, 2-d or 3-d problem has one, two or three entries per list, and two per
axis (begin, end) in the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Ints = Sequence[int]


def require(condition: Any, message: str) -> None:
    """Raises RuntimeError with the message unless the condition holds."""
    if not condition:
        raise RuntimeError(message)
