"""Parameters that all segmentation methods share, for training and for applying."""

from __future__ import annotations

from dataclasses import dataclass

from MedDeepLib.core import backend_parameter, parameter

AXES = ("right", "anterior", "superior")
FLIP_AXES = {"none": (), "left-right": (0,), "all": (0, 1, 2)}


@dataclass(frozen=True)
class TrainingParameters:
    """How a segmentation network is trained."""

    steps: int = parameter(1000, "Training steps, one batch each.", minimum=1, maximum=10_000_000)
    batch_size: int = parameter(0, "Patches per step; 0: by memory and amount of data.", minimum=0, maximum=1024)
    learning_rate: float = parameter(2e-3, "Largest learning rate; it rises at first and then falls.", minimum=0.0)
    patch_size: tuple[int, ...] = parameter(
        (0, 0, 0),
        "Size of the patches the network sees, along right, anterior, superior; 0: by image size, memory and device.",
        unit="voxels",
        minimum=0,
        maximum=4096,
    )
    spacing: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0),
        "Voxel size the network works at, along right, anterior, superior; 0: the median of the training images.",
        unit="mm",
        minimum=0.0,
        maximum=100.0,
    )
    memory: float = parameter(
        0.0,
        "Memory that patches and batch are chosen for; 0: what is free on the device, 8 GB at most.",
        unit="GB",
        minimum=0.0,
        maximum=1000.0,
        advanced=True,
    )
    loss: str = parameter(
        "dice_ce",
        "The loss: Dice with cross-entropy, or one of them.",
        choices=("dice_ce", "dice", "cross_entropy"),
    )
    foreground: float = parameter(
        0.8, "Share of patches cut around a structure, each structure equally often.", minimum=0.0, maximum=1.0
    )
    validation_fraction: float = parameter(
        0.2, "Share of training patients set aside when the dataset has no validation cases.", minimum=0.0, maximum=0.9
    )
    validate_every: int = parameter(200, "Steps between two validations.", unit="steps", minimum=1)
    validation_cases: int = parameter(10, "Largest number of cases in each validation.", minimum=1, advanced=True)
    patience: int = parameter(
        0, "Stop after this many validations without a better Dice; 0: train all steps.", minimum=0, advanced=True
    )
    rotation: float = parameter(15.0, "Augmentation: largest rotation.", unit="degrees", minimum=0.0, maximum=180.0)
    scaling: float = parameter(0.15, "Augmentation: largest relative change of size.", minimum=0.0, maximum=0.9)
    elastic: float = parameter(
        1.5, "Augmentation: elastic deformation (standard deviation).", unit="voxels", minimum=0.0, maximum=50.0
    )
    flips: str = parameter(
        "none",
        "Augmentation: mirror patches along these axes; omit left-right when left and right have separate labels.",
        choices=("none", "left-right", "all"),
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
    weight_decay: float = parameter(1e-4, "Weight decay of AdamW.", minimum=0.0, advanced=True)
    precision: str = parameter(
        "auto",
        "dtype of the forward pass; auto: bfloat16 or float16 on GPUs and CPUs that compute faster in it, otherwise "
        "float32.",
        choices=("auto", "float32", "bfloat16", "float16"),
        advanced=True,
    )
    schedule: str = parameter(
        "cosine",
        "How the learning rate falls after its rise: half a cosine, the polynomial of nnU-Net, or not at all.",
        choices=("cosine", "polynomial", "constant"),
        advanced=True,
    )
    plateau_patience: int = parameter(
        0,
        "Halve the learning rate after this many validations without a better Dice; 0: never.",
        minimum=0,
        advanced=True,
    )
    weight_average: float = parameter(
        0.0,
        "Validate and keep a running average of the weights, of which this share is kept at each step (e.g. 0.999); 0: "
        "the weights themselves.",
        minimum=0.0,
        maximum=0.99999,
        advanced=True,
    )
    accumulation: int = parameter(
        1, "Micro-batches per batch: less memory for the same batch size.", minimum=1, advanced=True
    )
    minutes: float = parameter(
        0.0, "End the training after this time, whatever its steps; 0: after all steps.", unit="minutes", minimum=0.0
    )
    cache_memory: float = parameter(
        0.0,
        "Memory for the training images; what does not fit is kept in files while training. 0: half of what is free.",
        unit="GB",
        minimum=0.0,
        advanced=True,
    )
    resample_labels: bool = parameter(
        False, "Resample label images that are on another grid than their image.", advanced=True
    )


def largest_component_parameter(help: str):
    """The option that selects the structures whose small separate pieces are removed."""
    return parameter("automatic", help, choices=("automatic", "always", "never"), switch=("always", "never"))


@dataclass(frozen=True)
class ApplyParameters:
    """How a segmentation network is applied."""

    overlap: float = parameter(0.25, "Share by which neighbouring tiles overlap.", minimum=0.0, maximum=0.9)
    largest_component: str = largest_component_parameter(
        "Keep only the largest connected piece; automatic: for structures that are one piece in every training label."
    )
    flips: bool = parameter(False, "Average over mirrored copies (only along axes mirrored in training).")
    whole_image: bool = parameter(False, "Apply the network to the air around the body too.", advanced=True)
    tile_batch: int = parameter(1, "Tiles computed together.", minimum=1, maximum=64, advanced=True, matters=False)
    allow_cpu: bool = parameter(
        False,
        "Compute on the CPU what does not fit into the GPU's memory, which takes much longer.",
        advanced=True,
        matters=False,
    )
    resample_inputs: bool = parameter(
        False, "Resample further input images to the grid of the first one when theirs differs.", advanced=True
    )
    backend: str = backend_parameter()


@dataclass(frozen=True)
class ImportedApplyParameters:
    """How a bundle from elsewhere is applied; all else is in its own configuration."""

    largest_component: str = largest_component_parameter(
        "Keep only the largest connected piece of each structure; automatic: the bundle's own post-processing decides."
    )
    allow_cpu: bool = parameter(
        False,
        "Compute on the CPU what does not fit into the GPU's memory, which takes much longer.",
        advanced=True,
        matters=False,
    )
    resample_inputs: bool = parameter(
        False, "Resample further input images to the grid of the first one when theirs differs.", advanced=True
    )
    backend: str = backend_parameter()
