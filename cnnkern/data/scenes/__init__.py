"""Scenes drawn from real material, with their truth: any number of samples, made on the fly.

Where no labelled set comes with a package, these stand in for one. Handwritten digits
(scikit-learn's, 1797 of them) and photographs (its two) are real; where they stand, how large, in
what light and before what is drawn at random. Scene number ``i`` is a function of the seed, the
split and ``i`` alone, so a set may be as long as one likes and needs no memory.

Held-out scenes share nothing with those for training: other digits, other parts of the photographs.

>>> image, truth = DigitScenes(100)[7]
>>> image.shape, image.dtype, truth.boxes.shape[1]
(torch.Size([3, 64, 64]), torch.float32, 4)
"""

from cnnkern.data.scenes.action import MOTIONS, MovingDigits
from cnnkern.data.scenes.detection import DigitScenes
from cnnkern.data.scenes.labelling import REGIONS, Landscapes
from cnnkern.data.scenes.pose import JOINTS, LIMBS, Figures
from cnnkern.data.scenes.scenes import Scenes

__all__ = [
    "JOINTS",
    "LIMBS",
    "MOTIONS",
    "REGIONS",
    "DigitScenes",
    "Figures",
    "Landscapes",
    "MovingDigits",
    "Scenes",
]
