"""Networks built from cnnkern's layers, by name.

Every network takes ``layers=``, a namespace that provides layer classes with the signatures of
``torch.nn``; the default is cnnkern itself. Passing ``torch.nn`` gives the same network, with the
same initial weights for the same seed, on PyTorch's own kernels.

The registry has two sizes of each: ``create("resnet18")`` as published, and
``create("resnet18_small")`` for inputs of 28 to 64 pixels, which trains in minutes on two cores.
LeNet-5 is small as it is. Where torchvision has the architecture, its state_dict loads.
"""

from __future__ import annotations

from typing import Any

from cnnkern.models.action import C3D, TwoStream
from cnnkern.models.alexnet import AlexNet
from cnnkern.models.dcgan import DCGANDiscriminator, DCGANGenerator
from cnnkern.models.deeppose import DeepPose
from cnnkern.models.fcn import FCN8s
from cnnkern.models.googlenet import GoogLeNet, GoogLeNetOutputs
from cnnkern.models.initialise import initialise, schemes
from cnnkern.models.lenet import LeNet5
from cnnkern.models.mobilenet import MobileNetV2
from cnnkern.models.model import Model
from cnnkern.models.resnet import ResNet18, ResNet50
from cnnkern.models.ssd import SSD
from cnnkern.models.summary import LayerSummary, ModelSummary, summarize
from cnnkern.models.text_cnn import TextCNN
from cnnkern.models.unet import UNet
from cnnkern.models.vgg import VGG11, VGG16

__all__ = [
    "C3D",
    "SSD",
    "VGG11",
    "VGG16",
    "AlexNet",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DeepPose",
    "FCN8s",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "LayerSummary",
    "LeNet5",
    "MobileNetV2",
    "Model",
    "ModelSummary",
    "ResNet18",
    "ResNet50",
    "TextCNN",
    "TwoStream",
    "UNet",
    "create",
    "initialise",
    "list_models",
    "model_class",
    "schemes",
    "summarize",
]

_TWO_SIZES: dict[str, type[Model]] = {
    "alexnet": AlexNet,
    "c3d": C3D,
    "dcgan_discriminator": DCGANDiscriminator,
    "dcgan_generator": DCGANGenerator,
    "deeppose": DeepPose,
    "fcn8s": FCN8s,
    "googlenet": GoogLeNet,
    "mobilenet_v2": MobileNetV2,
    "resnet18": ResNet18,
    "resnet50": ResNet50,
    "ssd": SSD,
    "text_cnn": TextCNN,
    "two_stream": TwoStream,
    "unet": UNet,
    "vgg11": VGG11,
    "vgg16": VGG16,
}
_MODELS: dict[str, tuple[type[Model], dict[str, Any]]] = {
    "lenet5": (LeNet5, {}),
    **{name: (model, {}) for name, model in _TWO_SIZES.items()},
    **{f"{name}_small": (model, {"small": True}) for name, model in _TWO_SIZES.items()},
}


def list_models() -> list[str]:
    """The names that :func:`create` knows, sorted."""
    return sorted(_MODELS)


def model_class(name: str) -> type[Model]:
    """The class of that name's network, of which ``task`` tells what the network is for.

    >>> model_class("resnet18_small").task
    'classification'

    Raises:
        ValueError: there is no network of that name.
    """
    if name not in _MODELS:
        raise ValueError(f"there is no model named '{name}'; known: {', '.join(list_models())}")
    return _MODELS[name][0]


def create(name: str, **kwargs: Any) -> Model:
    """A freshly initialised network; ``kwargs`` go to its constructor.

    >>> net = create("resnet18_small", num_classes=10, in_channels=1)
    >>> net(net.example()).shape
    torch.Size([1, 10])

    Raises:
        ValueError: there is no network of that name.
    """
    model = model_class(name)(**_MODELS[name][1], **kwargs)
    arguments = {key: value for key, value in kwargs.items() if key != "layers"}
    model.recipe = {"name": name, "arguments": arguments}
    return model
