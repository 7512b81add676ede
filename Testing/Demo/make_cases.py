"""Cases for the demonstration: training cases made from ONE labelled head, and a real test case of another.

The training cases are copies of one brain (ch2) bent by random smooth deformations that do not fold, with
random contrast, shading, sharpness and noise; its AAL labels are bent along. They are synthetic and not new
people: a score on such cases is an upper bound. The test case is a real image that was not used to make them, the
ICBM152 average brain with Desikan-Killiany labels. The two sets of labels follow different protocols, so even a
perfect network does not reach a Dice of 1.

All geometry is RAS, in millimetres; volumes are aligned by their affines, never by index.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from MedDeepLib.data.preparation import resample_array
from MedDeepLib.data.sources.image import Image, read_image, write_image
from MedDeepLib.data.sources.labels import Segment, terminology_entry, write_segmentation
from scipy import ndimage

NAME = "Deep brain structures"
DESCRIPTION = (
    "SYNTHETIC training and validation cases, all made from ONE head (ch2 with AAL labels) by random "
    "deformation and change of contrast: they are not new people, and validation scores are upper bounds. "
    "The test case is a real image, the ICBM152 average brain with Desikan-Killiany labels. The two label "
    "protocols differ."
)
MARGIN_MM = 12
VELOCITY_SPACING_MM = 4.0
SQUARINGS = 6


@dataclass(frozen=True)
class Structure:
    """A bilateral structure: its SNOMED CT code, colour, and (left, right) numbers in the two atlases."""

    name: str
    code: str
    color: tuple[float, float, float]
    aal: tuple[int, int]
    desikan_killiany: tuple[int, int]


# Left structures get odd values 1, 3 ... 11, right ones the even value that follows.
STRUCTURES = (
    Structure("Hippocampus", "5366008", (0.86, 0.80, 0.25), (37, 38), (40, 81)),
    Structure("Amygdala", "4958002", (0.38, 0.80, 0.80), (41, 42), (41, 82)),
    Structure("Caudate nucleus", "11000004", (0.35, 0.60, 0.90), (71, 72), (36, 77)),
    Structure("Putamen", "89278009", (0.90, 0.40, 0.65), (73, 74), (37, 78)),
    Structure("Globus pallidus", "14738005", (0.45, 0.40, 0.85), (75, 76), (38, 79)),
    Structure("Thalamus", "42695009", (0.35, 0.72, 0.40), (77, 78), (35, 76)),
)
CATEGORY = ("SCT", "123037004", "Anatomical Structure")
SIDES = (("SCT", "7771000", "Left"), ("SCT", "24028007", "Right"))


def segments() -> list[Segment]:
    """The 12 structures with the names, colours and DICOM terminology that Slicer shows."""
    return [
        Segment(
            value=2 * number + side + 1,
            name=f"{SIDES[side][2].lower()} {structure.name.lower()}",
            color=structure.color,
            terminology=terminology_entry(CATEGORY, ("SCT", structure.code, structure.name), SIDES[side]),
        )
        for number, structure in enumerate(STRUCTURES)
        for side in (0, 1)
    ]


def label_values(atlas: str) -> dict[int, int]:
    """Number in an atlas ("aal" or "desikan_killiany") -> value 1..12 in the cases."""
    return {
        getattr(structure, atlas)[side]: 2 * number + side + 1
        for number, structure in enumerate(STRUCTURES)
        for side in (0, 1)
    }


@dataclass(frozen=True)
class Strength:
    """How much cases may differ from the original head; every case draws its own values."""

    rotation_degrees: float = 10.0  # about each axis, either way
    scale: float = 0.12  # larger or smaller as a whole; a third of it along each axis on its own
    shear: float = 0.05
    shift_mm: float = 6.0
    warp_mm: float = 2.5  # standard deviation of each component of the coarse deformation
    structure_contrast: float = 0.06  # change of a structure's intensity, as a share of the brightest tissue
    gamma: float = 0.5  # exponents from exp(-gamma) to exp(gamma)
    pedestal: float = 0.3  # intensity of the darkest tissue, at most; 0 outside the brain
    shading: float = 0.25  # standard deviation of the logarithm of the bias field, at most
    blur_mm: float = 1.6  # standard deviation, at most
    noise: float = 0.05  # standard deviation, at most, as a share of the brightest tissue


DEFAULT_STRENGTH = Strength()


@dataclass(frozen=True, eq=False)
class Head:
    """The labelled head on a RAS grid of 1 mm around the brain.

    Attributes:
        image: float32 (I, J, K), the brightest tissue is about 1.
        labels: uint8 (I, J, K), 0..12.
        affine: 4x4, IJK to RAS; its rotation part is the identity.
    """

    image: np.ndarray
    labels: np.ndarray
    affine: np.ndarray


def make_cases(
    folder: Path, ch2: Path, aal: Path, count: int = 12, seed: int = 0, validation: int = 2,
    strength: Strength = DEFAULT_STRENGTH, on_case: Callable[[int], None] = lambda index: None,
) -> Path:  # fmt: skip
    """Write ``count`` synthetic cases and the list that names them.

    Args:
        folder: where to put them; created if necessary.
        ch2: the T1 image, with or without skull (the test case has none, so ch2bet fits better).
        aal: the AAL atlas drawn on it.
        count: number of cases; the last ``validation`` of them are for validation.
        seed: the same seed makes the same cases.
        on_case: called with the index of every finished case.

    Returns:
        The path of ``dataset.json``.
    """
    folder = Path(folder)
    head = load_head(ch2, aal)

    def make(index: int) -> dict[str, str]:
        # Seeded by the case's own number, so that the cases do not depend on the order they are made in.
        image, labels = make_case(head, np.random.default_rng([seed, index]), strength)
        name = f"ch2_copy{index + 1:02d}"
        write_image(folder / f"{name}.nrrd", image, head.affine)
        write_segmentation(folder / f"{name}.seg.nrrd", labels, head.affine, segments())
        on_case(index)
        return {"image": f"{name}.nrrd", "label": f"{name}.seg.nrrd", "patient": name}

    with ThreadPoolExecutor(2) as pool:
        items = list(pool.map(make, range(count)))
    split = max(1, count - validation)
    return _write_list(folder, training=items[:split], validation=items[split:])


def make_test_case(folder: Path, icbm_t1: Path, desikan_killiany: Path) -> Path:
    """Write the real test case, with its labels on the image's own grid, and add it to ``dataset.json``.

    Returns the path of ``dataset.json``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    image, atlas = read_image(icbm_t1), read_image(desikan_killiany)
    regions = resample_array(atlas.array[0], atlas.affine, image.shape, image.affine, order=0)
    shutil.copyfile(icbm_t1, folder / "icbm152.nii.gz")
    labels = map_labels(regions, label_values("desikan_killiany"))
    write_segmentation(folder / "icbm152.seg.nrrd", labels, image.affine, segments())
    return _write_list(folder, test=[{"image": "icbm152.nii.gz", "label": "icbm152.seg.nrrd", "patient": "ICBM152"}])


def _write_list(folder: Path, **splits: list[dict[str, str]]) -> Path:
    path = folder / "dataset.json"
    labels = {str(s.value): {"name": s.name, "color": s.color, "terminology": s.terminology} for s in segments()}
    content = {"name": NAME, "description": DESCRIPTION, "channels": ["T1"], "labels": labels}
    if path.exists():
        content = {**json.loads(path.read_text(encoding="utf-8")), **content}
    path.write_text(json.dumps({**content, **splits}, indent=2), encoding="utf-8")
    return path


def load_head(image_path: Path, atlas_path: Path) -> Head:
    """Read the image and its atlas and resample both to one RAS grid of 1 mm around the brain."""
    image, atlas = read_image(image_path), read_image(atlas_path)
    affine, shape = _grid_around(image)
    brain = resample_array(image.array[0].astype(np.float32), image.affine, shape, affine, order=1)
    regions = resample_array(atlas.array[0], atlas.affine, shape, affine, order=0)
    brain /= np.percentile(brain[brain > 0], 99.5)
    return Head(brain, map_labels(regions, label_values("aal")), affine)


def _grid_around(image: Image) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of the grid around the voxels above zero, with room for the deformation."""
    indices = np.argwhere(image.array[0] > 0)
    bounds = np.stack([indices.min(0), indices.max(0)])
    corners = np.array([[bounds[i, 0], bounds[j, 1], bounds[k, 2]] for i, j, k in np.ndindex(2, 2, 2)])
    corners = corners @ image.affine[:3, :3].T + image.affine[:3, 3]
    low, high = np.floor(corners.min(0)) - MARGIN_MM, np.ceil(corners.max(0)) + MARGIN_MM
    affine = np.eye(4)
    affine[:3, 3] = low
    return affine, tuple(int(n) for n in high - low + 1)


def map_labels(regions: np.ndarray, values: dict[int, int]) -> np.ndarray:
    """uint8 labels: regions named in ``values`` get their value, all others 0."""
    table = np.zeros(max(int(regions.max()), *values) + 1, np.uint8)
    table[list(values)] = list(values.values())
    return table[regions.astype(np.intp)]


def make_case(
    head: Head, random: np.random.Generator, strength: Strength = DEFAULT_STRENGTH
) -> tuple[np.ndarray, np.ndarray]:
    """One case on the head's grid: image uint8 and labels uint8, both (I, J, K)."""
    points = deformation(head, random, strength)
    labels = ndimage.map_coordinates(head.labels, points, order=0)
    image = ndimage.map_coordinates(_vary_structures(head, random, strength), points, order=1)
    if random.random() < 0.5:
        image, labels = _mirror(image, labels)
    return _vary_contrast(image, random, strength), labels


def deformation(head: Head, random: np.random.Generator, strength: Strength) -> np.ndarray:
    """Where in the head each voxel of the case comes from: float32 (3, I, J, K), in voxels of 1 mm."""
    shape = head.image.shape
    centre = (np.array(shape, np.float32) - 1) / 2
    points = random_displacement(shape, random, strength)
    for axis, n in enumerate(shape):
        points[axis] += (np.arange(n, dtype=np.float32) - centre[axis]).reshape(
            [-1 if other == axis else 1 for other in range(3)]
        )
    shift = random.uniform(-1, 1, 3) * strength.shift_mm
    points = np.tensordot(_random_matrix(random, strength).astype(np.float32), points, axes=1)
    points += (centre + shift).astype(np.float32)[:, None, None, None]
    return points


def random_displacement(shape: tuple[int, int, int], random: np.random.Generator, strength: Strength) -> np.ndarray:
    """A smooth displacement field in mm, (3, I, J, K), that does not fold.

    It is the exponential of a stationary velocity field: a small displacement is applied to itself again and again
    ("squaring"). Each step is one to one, and so is the result. Computed on a coarse grid.
    """
    grid = [int(np.ceil(n / VELOCITY_SPACING_MM)) + 1 for n in shape]
    displacement = np.zeros((3, *grid), np.float32)
    for smoothness_mm, share in ((24.0, 1.0), (12.0, 0.6)):
        for component in displacement:
            noise = random.standard_normal(grid, np.float32)
            field = ndimage.gaussian_filter(noise, smoothness_mm / VELOCITY_SPACING_MM, mode="nearest")
            component += field * (share * strength.warp_mm / VELOCITY_SPACING_MM / field.std())
    displacement /= 2**SQUARINGS
    identity = np.indices(grid, dtype=np.float32)
    for _ in range(SQUARINGS):
        there = identity + displacement
        moved = [ndimage.map_coordinates(part, there, order=1, mode="nearest") for part in displacement]
        displacement += np.stack(moved)
    finer = np.full(3, 1 / VELOCITY_SPACING_MM)
    parts = [
        ndimage.affine_transform(part, finer, output_shape=shape, order=1, mode="nearest") for part in displacement
    ]
    return np.stack(parts) * np.float32(VELOCITY_SPACING_MM)


def _random_matrix(random: np.random.Generator, strength: Strength) -> np.ndarray:
    """A 3x3 matrix of a small rotation, scaling and shear."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(random.uniform(-1, 1, 3) * strength.rotation_degrees)):
        i, j = [other for other in range(3) if other != axis]
        about_axis = np.eye(3)
        about_axis[[i, j], [i, j]] = np.cos(angle)
        about_axis[i, j], about_axis[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ about_axis
    scale = 1 + random.uniform(-1, 1) * strength.scale + random.uniform(-1, 1, 3) * strength.scale / 3
    shear = np.eye(3) + np.triu(random.uniform(-1, 1, (3, 3)), 1) * strength.shear
    return turn @ np.diag(scale) @ shear


def _mirror(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exchange left and right in the image AND in the names: a mirrored left structure is a right one."""
    labels = labels[::-1]
    exchanged = np.where(labels % 2 == 1, labels + 1, labels - 1)
    return image[::-1], np.where(labels > 0, exchanged, 0).astype(np.uint8)


def _vary_structures(head: Head, random: np.random.Generator, strength: Strength) -> np.ndarray:
    """Brighten or darken each structure, both sides alike: scanners differ most in the deep grey matter."""
    by_structure = random.normal(0, strength.structure_contrast, len(STRUCTURES))
    offsets = np.concatenate([[0], np.repeat(by_structure, 2)]).astype(np.float32)
    return head.image + ndimage.gaussian_filter(offsets[head.labels], 0.7)  # soft edges


def _vary_contrast(image: np.ndarray, random: np.random.Generator, strength: Strength) -> np.ndarray:
    """Another sharpness, contrast, shading and noise; uint8, 0 outside the brain as without skull."""
    inside = ndimage.binary_dilation(image > 0.05)
    image = ndimage.gaussian_filter(np.clip(image, 0, 1.3), random.uniform(0, strength.blur_mm))
    image = (image / 1.3) ** np.float32(np.exp(random.uniform(-1, 1) * strength.gamma))
    coarse = random.standard_normal((4, 4, 4), np.float32) * random.uniform(0, strength.shading)
    # How far the surroundings lie below the darkest tissue differs from one extracted brain to the next (in
    # ICBM152 the gap is wider than in ch2), and normalised values shift with it.
    pedestal = random.uniform(0, strength.pedestal)
    image = pedestal + (1 - pedestal) * image
    image *= np.exp(ndimage.zoom(coarse, np.array(image.shape) / 4, order=1, mode="nearest", grid_mode=True))
    image += random.standard_normal(image.shape, np.float32) * random.uniform(0, strength.noise)
    image = np.where(inside, np.clip(image, 0, None), 0)
    return (image * (255 / image.max())).astype(np.uint8)
