"""Parameters that all classification methods share, for training and for applying."""

from __future__ import annotations

from dataclasses import dataclass

from MedDeepLib.core import parameter, with_defaults

FLIP_AXES = {"none": (), "left-right": (0,), "all": (0, 1, 2)}


@dataclass(frozen=True)
class ClassificationParameters:
    """How a classifier is trained."""

    steps: int = parameter(1000, "Training steps, one batch each.", minimum=1, maximum=10_000_000)
    batch_size: int = parameter(16, "Cases per step.", minimum=1, maximum=4096)
    learning_rate: float = parameter(1e-3, "Largest learning rate; it rises at first and then falls.", minimum=0.0)
    balance: str = parameter(
        "weights",
        "Classes of different frequency: weights in the loss, a sampler that shows all equally often, or none.",
        choices=("weights", "sampler", "none"),
    )
    label_smoothing: float = parameter(
        0.0, "Share of the target that is spread over all classes, against wrong labels.", minimum=0.0, maximum=0.9
    )
    validation_fraction: float = parameter(
        0.2,
        "Share of training patients of each class set aside when the dataset has no validation cases.",
        minimum=0.0,
        maximum=0.9,
    )
    validate_every: int = parameter(50, "Steps between two validations.", unit="steps", minimum=1)
    patience: int = parameter(
        0, "Stop after this many validations without a lower loss; 0: train all steps.", minimum=0, advanced=True
    )
    weight_decay: float = parameter(1e-4, "Weight decay of AdamW.", minimum=0.0, advanced=True)
    schedule: str = parameter(
        "cosine",
        "How the learning rate falls after its rise: half a cosine, a polynomial, or not at all.",
        choices=("cosine", "polynomial", "constant"),
        advanced=True,
    )
    precision: str = parameter(
        "auto",
        "dtype of the forward pass; auto: bfloat16 or float16 on GPUs and CPUs that compute faster in it, otherwise "
        "float32.",
        choices=("auto", "float32", "bfloat16", "float16"),
        advanced=True,
    )
    accumulation: int = parameter(
        1, "Micro-batches per batch: less memory for the same batch size.", minimum=1, advanced=True
    )


@dataclass(frozen=True)
@with_defaults(precision="float32")
class ArrayParameters(ClassificationParameters):
    """How a classifier of tables or matrices is trained; half precision does not pay there."""

    noise: float = parameter(
        0.0,
        "Augmentation: standard deviation of noise, in standard deviations of each feature.",
        minimum=0.0,
        maximum=10.0,
    )


@dataclass(frozen=True)
class ImageParameters(ClassificationParameters):
    """How a classifier of images is trained."""

    size: tuple[int, ...] = parameter(
        (0, 0, 0),
        "Voxels of the network's input along right, anterior, superior; 0: by the images and the device.",
        unit="voxels",
        minimum=0,
        maximum=4096,
    )
    spacing: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0),
        "Voxel size of the network's input along right, anterior, superior; 0: the one at which the largest training "
        "image fits.",
        unit="mm",
        minimum=0.0,
        maximum=1000.0,
    )
    margin: float = parameter(10.0, "Tissue to keep around the region, if there is one.", unit="mm", minimum=0.0)
    rotation: float = parameter(10.0, "Augmentation: largest rotation.", unit="degrees", minimum=0.0, maximum=180.0)
    scaling: float = parameter(0.1, "Augmentation: largest relative change of size.", minimum=0.0, maximum=0.9)
    elastic: float = parameter(
        0.0, "Augmentation: elastic deformation (standard deviation).", unit="voxels", minimum=0.0, maximum=50.0
    )
    flips: str = parameter(
        "none", "Augmentation: mirror images along these axes.", choices=("none", "left-right", "all")
    )
    intensity: float = parameter(
        0.5, "Augmentation: change of contrast, intensity, noise and blur.", minimum=0.0, maximum=2.0
    )
    normalization: str = parameter(
        "zscore",
        "Values: each image by its own foreground, or a fixed window (e.g. CT).",
        choices=("zscore", "window"),
        advanced=True,
    )
    window: tuple[float, ...] = parameter(
        (-200.0, 300.0), "Lowest and highest value of the fixed window, e.g. in HU.", advanced=True
    )
    cache_memory: float = parameter(
        0.0,
        "Memory for the training images; what does not fit is kept in files while training. 0: half of what is free.",
        unit="GB",
        minimum=0.0,
        advanced=True,
    )


@dataclass(frozen=True)
class ApplyParameters:
    """How a classifier is applied."""

    neighbours: int = parameter(3, "Nearest training cases to name.", minimum=0, maximum=100)


@dataclass(frozen=True)
class ExplainedApplyParameters(ApplyParameters):
    """How a classifier is applied that shows what its answer rests on."""

    explained: str = parameter("", "The class that the evidence speaks for; empty: the one that is called.")


@dataclass(frozen=True)
class ImageApplyParameters(ExplainedApplyParameters):
    """How a classifier of images is applied."""

    evidence: str = parameter(
        "gradcam",
        "The heat map: Grad-CAM, coarse and quick; or occlusion, which covers one part of the image after the other.",
        choices=("gradcam", "occlusion"),
    )
    resample_inputs: bool = parameter(
        False, "Resample further input images to the grid of the first one when theirs differs.", advanced=True
    )
