"""Convolutional networks on whole images: DenseNet, ResNet, EfficientNet and an AlexNet-like one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedDeepLib.core import parameter, with_defaults

from ClassifyModuleLib.image_method import ImageMethod
from ClassifyModuleLib.parameters import ImageParameters

if TYPE_CHECKING:
    from ClassifyModuleLib.worker.networks.classifier import Classifier

NETWORKS = (
    "densenet", "densenet121", "resnet10", "resnet18", "resnet50", "efficientnet-b0", "efficientnet-b2", "alexnet",
)  # fmt: skip
_LEAST = {"alexnet": 16}


@dataclass(frozen=True)
@with_defaults(batch_size=8, steps=1000)
class CnnParameters(ImageParameters):
    network: str = parameter(
        "densenet",
        "The network; densenet is a small one for small cohorts and CPUs, the numbered ones are as published.",
        choices=NETWORKS,
    )
    dimensions: str = parameter(
        "automatic",
        "2: pictures and single slices; 2.5: every slice with its neighbours, averaged; 3: volumes; automatic: by the "
        "number of slices.",
        choices=("automatic", "2", "2.5", "3"),
    )
    dropout: float = parameter(0.2, "Share of features dropped before the classes.", minimum=0.0, maximum=0.9)
    features: int = parameter(24, "Maps of AlexNet's first convolution.", minimum=1, maximum=512, advanced=True)


class Cnn(ImageMethod):
    """A convolutional network that sees the whole image, or the surroundings of a region.

    DenseNet (Huang et al. 2017, 10.1109/CVPR.2017.243), ResNet (He et al. 2016, 10.1109/CVPR.2016.90) and EfficientNet
    (Tan and Le 2019, arXiv 1905.11946) are MONAI's, in two or three dimensions; "densenet" is a small one (3, 4, 6 and
    4 layers, 12 maps each). The AlexNet-like one (Krizhevsky et al. 2012, 10.1145/3065386) has five convolutions with
    ReLU, overlapping max pooling and dropout before dense layers; batch normalisation takes the place of local response
    normalisation, and it is not split over two GPUs. In 2.5 dimensions a 2D network sees every slice with its two
    neighbours, and the features of all slices are averaged.
    """

    name = "cnn"
    title = "Convolutional network"
    reference = "Huang et al. 2017, doi 10.1109/CVPR.2017.243; He et al. 2016, doi 10.1109/CVPR.2016.90"
    summary = "DenseNet, ResNet, EfficientNet or AlexNet on pictures, stacks of slices and volumes."
    Parameters = CnnParameters

    @property
    def least_size(self) -> int:
        return _LEAST.get(self.parameters.network, super().least_size)

    def network(self, plan: dict[str, Any], outputs: int) -> Classifier:
        from ClassifyModuleLib.worker.networks.convolutional import image_network

        settings, reading = self.parameters, plan["reading"]
        return image_network(
            settings.network,
            reading["dimensions"],
            len(reading["channels"]),
            outputs,
            settings.dropout,
            settings.features,
        )
