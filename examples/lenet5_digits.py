"""LeNet-5 learns handwritten digits on cnnkern's kernels: the whole way in a few lines.

python examples/lenet5_digits.py
"""

import torch

from cnnkern.data import load_digits
from cnnkern.models import LeNet5
from cnnkern.train import Settings, Trainer
from cnnkern.visualize import filters

if __name__ == "__main__":
    settings = Settings(seed=0)
    torch.manual_seed(settings.seed)
    trainer = Trainer(LeNet5(), load_digits(settings.seed), settings)
    for number in range(1, 13):
        epoch = trainer.run_epoch()
        print(f"epoch {number:2}: loss {epoch.train_loss:.3f}, accuracy {epoch.test_accuracy:.1%}")
    print(f"learned filters: {filters(trainer.model, 'filters.png')}")
