"""Parameters that all detection methods share, for training and for applying."""

from __future__ import annotations

from dataclasses import dataclass

from MedDeepLib.core import parameter

FLIP_AXES = {"none": (), "left-right": (0,), "all": (0, 1, 2)}


@dataclass(frozen=True)
class DetectionParameters:
    """How a detection method is trained: its data, and how patches are drawn and changed."""

    steps: int = parameter(2000, "Training steps, one batch each.", minimum=1, maximum=10_000_000)
    batch_size: int = parameter(2, "Patches per step.", minimum=1, maximum=4096)
    learning_rate: float = parameter(1e-3, "Largest learning rate; it rises at first and then falls.", minimum=0.0)
    spacing: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0),
        "Voxel size the network works at, along right, anterior, superior; 0: the median of the training images.",
        unit="mm",
        minimum=0.0,
        maximum=100.0,
    )
    sampling: str = parameter(
        "uniform",
        "How patches without a finding are drawn: evenly, or the more often the more wrong the network is about them "
        "(van Grinsven 2016).",
        choices=("uniform", "selective"),
    )
    sampling_every: int = parameter(
        100, "Steps after which selective sampling measures the errors anew.", unit="steps", minimum=1, advanced=True
    )
    point_diameter: float = parameter(
        0.0,
        "Diameter of findings that are given as points and do not tell their own; 0: such points are refused.",
        unit="mm",
        minimum=0.0,
        maximum=1000.0,
    )
    smallest_piece: float = parameter(
        0.0,
        "Pieces of a label map that are smaller than this are no findings.",
        unit="mm3",
        minimum=0.0,
        advanced=True,
    )
    validation_fraction: float = parameter(
        0.2, "Share of training patients set aside when the dataset has no validation cases.", minimum=0.0, maximum=0.9
    )
    validate_every: int = parameter(250, "Steps between two validations.", unit="steps", minimum=1)
    validation_cases: int = parameter(10, "Largest number of cases in each validation.", minimum=1, advanced=True)
    patience: int = parameter(
        0,
        "Stop after this many validations without a better key metric; 0: train all steps.",
        minimum=0,
        advanced=True,
    )
    rotation: float = parameter(10.0, "Augmentation: largest rotation.", unit="degrees", minimum=0.0, maximum=180.0)
    scaling: float = parameter(0.1, "Augmentation: largest relative change of size.", minimum=0.0, maximum=0.9)
    flips: str = parameter(
        "all", "Augmentation: mirror patches along these axes.", choices=("none", "left-right", "all")
    )
    intensity: float = parameter(
        0.3, "Augmentation: change of contrast, intensity, noise and blur.", minimum=0.0, maximum=2.0
    )
    normalization: str = parameter(
        "unclipped",
        "Values: each image by its own foreground, with its extremes (unclipped) or without the brightest and darkest "
        "half percent (zscore), or a fixed window (e.g. CT).",
        choices=("unclipped", "zscore", "window"),
        advanced=True,
    )
    window: tuple[float, ...] = parameter(
        (-1000.0, 400.0), "Lowest and highest value of the fixed window, e.g. in HU.", advanced=True
    )
    weight_decay: float = parameter(1e-4, "Weight decay of AdamW.", minimum=0.0, advanced=True)
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


@dataclass(frozen=True)
class ApplyParameters:
    """How a detection method is applied."""

    threshold: float = parameter(0.3, "Findings with a lower score are left out.", minimum=0.0, maximum=1.0)
    most: int = parameter(
        300, "Findings kept of each image at most, those with the highest scores.", minimum=1, maximum=10_000
    )
    merge: float = parameter(
        0.22,
        "Two boxes of a class that overlap by more than this (intersection over union) are one finding; the one with "
        "the higher score stays.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    merge_distance: float = parameter(
        0.0,
        "Two boxes of a class with centres closer than this are one finding.",
        unit="mm",
        minimum=0.0,
        advanced=True,
    )
    overlap: float = parameter(
        0.25, "Share by which neighbouring tiles overlap.", minimum=0.0, maximum=0.9, advanced=True
    )
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
