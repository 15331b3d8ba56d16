"""Images of digits, ready for LeNet-5: (N, 1, 32, 32) float32, normalised per channel."""

from cnnkern.data.dataset import Dataset, normalized
from cnnkern.data.digits import load_digits
from cnnkern.data.idx import load_idx, read_idx

__all__ = ["Dataset", "load_digits", "load_idx", "normalized", "read_idx"]
