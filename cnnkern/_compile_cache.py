"""Names this package's sources in the keys of torch.compile's cache.

The cache outlives a version of this package. Its keys hold the operators' names alone, but compiled
code also keeps what the sources say of their arguments, sizes, strides and fusions.
"""

import hashlib
from pathlib import Path

from torch.compiler import config


def name_sources() -> None:
    """Adds a hash of the sources to ``torch.compiler.config.cache_key_tag``, once."""
    package = Path(__file__).parent
    patterns = ("_inductor*.py", "_ops/*.py", "_shapes/*.py")
    files = [file for pattern in patterns for file in package.glob(pattern)]
    sources = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files)))
    tag = f"cnnkern-{sources.hexdigest()[:16]}"
    tags = config.cache_key_tag.split(",") if config.cache_key_tag else []
    if tag not in tags:
        config.cache_key_tag = ",".join([*tags, tag])
