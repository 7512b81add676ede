"""Parameters that registration methods share, for training and for applying."""

from __future__ import annotations

from dataclasses import dataclass

from MedDeepLib.core import parameter

SIMILARITIES = ("local-correlation", "local-information", "correlation", "mutual-information", "mean-square")


@dataclass(frozen=True)
class TrainingParameters:
    """How a registration network is trained."""

    spacing: float = parameter(
        0.0,
        "Voxel size the network works at; 0: so that the images are about 64 voxels long.",
        unit="mm",
        minimum=0.0,
        maximum=100.0,
    )
    batch_size: int = parameter(1, "Pairs per step.", minimum=1, maximum=256)
    learning_rate: float = parameter(1e-3, "Largest learning rate; it rises at first and then falls.", minimum=0.0)
    painting: str = parameter(
        "automatic",
        "Train on images of random contrast painted from the label maps, so that the model registers any contrast with "
        "any other; automatic: where there are no images.",
        choices=("automatic", "always", "never"),
    )
    bare: float = parameter(
        0.5,
        "Share of painted images that show only the dataset's structures, as after brain extraction.",
        minimum=0.0,
        maximum=1.0,
        advanced=True,
    )
    validation_fraction: float = parameter(
        0.2, "Share of training patients set aside when the dataset has no validation cases.", minimum=0.0, maximum=0.9
    )
    validate_every: int = parameter(200, "Steps between two validations.", unit="steps", minimum=1)
    validation_pairs: int = parameter(10, "Largest number of pairs in each validation.", minimum=1, advanced=True)
    rotation: float = parameter(
        10.0, "Augmentation: largest rotation of both images.", unit="degrees", minimum=0.0, maximum=180.0
    )
    scaling: float = parameter(0.1, "Augmentation: largest relative change of size.", minimum=0.0, maximum=0.9)
    shift: float = parameter(10.0, "Augmentation: largest shift.", unit="mm", minimum=0.0, maximum=500.0)
    intensity: float = parameter(
        0.5, "Augmentation: blur, shading, noise and change of contrast.", minimum=0.0, maximum=2.0
    )
    minutes: float = parameter(
        0.0, "End each stage after this time, whatever its steps; 0: after all steps.", unit="minutes", minimum=0.0
    )


@dataclass(frozen=True)
class ApplyParameters:
    """How two images are registered: options of all methods."""

    similarity: str = parameter(
        "automatic",
        "Similarity that the gradient steps maximise; automatic: mutual information for a matrix, local "
        "information for a deformation. Mutual information suits images of different kinds, e.g. MR and CT.",
        choices=("automatic", *SIMILARITIES),
    )
    center: bool = parameter(
        False, "Align the centres of the two images first; needed where they do not overlap in space."
    )
    matrix_steps: int = parameter(
        60, "Gradient steps on the matrix at each resolution; 0: none.", unit="steps", minimum=0, maximum=100_000
    )
    finest_spacing: float = parameter(
        0.0,
        "Voxel size of the finest resolution that gradient steps are taken at; 0: by the size of the images.",
        unit="mm",
        minimum=0.0,
        maximum=100.0,
        advanced=True,
    )

    def similarity_or(self, automatic: str) -> str:
        """The name of the similarity to follow: the chosen one, or ``automatic`` where that is left to the method."""
        return automatic if self.similarity == "automatic" else self.similarity
