"""LeNet-5 learns handwritten digits on cnnkern's kernels: the whole way in a few lines.

python examples/lenet5_digits.py [FOLDER]    (out/gallery if not given)
"""

import sys
import time
from pathlib import Path

import torch

from cnnkern.data import load_digits
from cnnkern.gallery import write_result
from cnnkern.models import LeNet5
from cnnkern.train import Settings, Trainer
from cnnkern.visualize import learning_curve

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out/gallery")
    start = time.perf_counter()
    settings = Settings(seed=0)
    torch.manual_seed(settings.seed)
    trainer = Trainer(LeNet5(), load_digits(settings.seed), settings)
    for number in range(1, 13):
        epoch = trainer.run_epoch()
        print(f"epoch {number:2}: loss {epoch.train_loss:.3f}, accuracy {epoch.test_accuracy:.1%}")
    print(f"learning curve: {learning_curve(trainer.history, folder / 'lenet5_digits.png')}")
    write_result(
        folder,
        "lenet5_digits",
        "LeNet-5 on handwritten digits",
        "python examples/lenet5_digits.py",
        time.perf_counter() - start,
        {"held-out accuracy": epoch.test_accuracy},
        ["lenet5_digits.png"],
    )
