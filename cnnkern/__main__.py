"""``python -m cnnkern`` is the command ``cnnkern``."""

from cnnkern.cli import main

if __name__ == "__main__":
    main()
