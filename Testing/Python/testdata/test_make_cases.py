"""The demonstration's case maker on a small phantom: geometry, sides, folding, correctness of the list."""

from __future__ import annotations

import json

import numpy as np
import pytest
from Demo import make_cases as maker
from MedDeepLib.core.registry import task
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.sources.image import read_image, write_image
from MedDeepLib.data.sources.labels import read_segmentation

SHAPE = (44, 52, 40)
RAS = np.array([[1.0, 0, 0, -22], [0, 1, 0, -26], [0, 0, 1, -20], [0, 0, 0, 1]])


def phantom() -> tuple[np.ndarray, dict[int, tuple[float, float, float]]]:
    """A brain-like ellipsoid on the RAS grid, and the centre of each structure in mm (left ones at negative x)."""
    points = np.moveaxis(np.indices(SHAPE), 0, -1) + RAS[:3, 3]
    brain = ((points / [20, 24, 18]) ** 2).sum(-1) < 1
    centres = {}
    for number in range(len(maker.STRUCTURES)):
        for side, sign in enumerate((-1, 1)):
            centres[2 * number + side + 1] = (sign * 9.0, -12.0 + 5 * number, 3.0 * (-1) ** number)
    return brain.astype(np.uint8) * 100, centres


def atlas(centres, numbers: dict[int, int]) -> np.ndarray:
    points = np.moveaxis(np.indices(SHAPE), 0, -1) + RAS[:3, 3]
    regions = np.zeros(SHAPE, np.uint8)
    for number, value in numbers.items():
        regions[(np.abs(points - centres[value]) <= 2).all(-1)] = number
    return regions


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The phantom's image, its two atlases, and a copy of the AAL-like one whose first axis runs to the left."""
    folder = tmp_path_factory.mktemp("phantom")
    image, centres = phantom()
    aal = atlas(centres, maker.label_values("aal"))
    desikan = atlas(centres, maker.label_values("desikan_killiany"))
    flipped = RAS.copy()
    flipped[0] = [-1, 0, 0, RAS[0, 3] + SHAPE[0] - 1]
    write_image(folder / "t1.nii.gz", image, RAS)
    write_image(folder / "aal.nii.gz", aal, RAS)
    write_image(folder / "aal_las.nii.gz", aal[::-1], flipped)
    write_image(folder / "t1_las.nii.gz", image[::-1], flipped)
    write_image(folder / "desikan_killiany.nii.gz", desikan[4:-4, 4:-4, 4:-4], shifted(RAS, 4))
    return folder


def shifted(affine: np.ndarray, voxels: int) -> np.ndarray:
    affine = affine.copy()
    affine[:3, 3] += voxels
    return affine


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    maker.make_cases(folder, files / "t1.nii.gz", files / "aal.nii.gz", count=8, seed=3)
    listed = maker.make_test_case(folder, files / "t1.nii.gz", files / "desikan_killiany.nii.gz")
    return load_dataset(listed, task("segment"))


def centre_of(labels: np.ndarray, affine: np.ndarray, value: int) -> np.ndarray:
    return affine[:3, :3] @ np.argwhere(labels == value).mean(0) + affine[:3, 3]


def test_the_list_is_read_and_says_what_the_cases_are(made):
    assert (len(made.training), len(made.validation), len(made.test)) == (6, 2, 1)
    assert "SYNTHETIC" in made.description and "ONE head" in made.description
    assert [segment.name for segment in made.segments[:3]] == [
        "left hippocampus", "right hippocampus", "left amygdala",
    ]  # fmt: skip
    assert len({segment.terminology for segment in made.segments}) == 12
    content = json.loads(made.path.read_text(encoding="utf-8"))
    assert content["test"][0]["patient"] == "ICBM152"


def test_left_stays_left_whether_mirrored_or_not(made):
    """The phantom's structures differ only in their front-back position, so the side follows from x alone."""
    for case in made.cases():
        labels, affine, segments = read_segmentation(case.files("label")[0])
        assert len(segments) == 12
        for value in range(1, 12, 2):
            left, right = centre_of(labels, affine, value), centre_of(labels, affine, value + 1)
            assert left[0] + 5 < right[0], f"{case.name}: value {value}"


def test_about_half_of_the_cases_are_mirrored(files):
    """Detected by a mark on the left of the image that is not in the labels."""
    head = maker.load_head(files / "t1.nii.gz", files / "aal.nii.gz")
    middle = head.image.shape[0] // 2
    image = head.image.copy()
    image[:middle] *= 0.5
    marked = maker.Head(image, head.labels, head.affine)
    still = maker.Strength(*[0.0] * 11)
    mirrored = 0
    for seed in range(20):
        case, labels = maker.make_case(marked, np.random.default_rng(seed), still)
        is_mirrored = case[:middle].mean() > case[middle:].mean()
        mirrored += is_mirrored
        expected = maker._mirror(head.image, head.labels)[1] if is_mirrored else head.labels
        np.testing.assert_array_equal(labels, expected)
    assert 4 <= mirrored <= 16


def test_the_deformation_does_not_fold_and_moves(files):
    head = maker.load_head(files / "t1.nii.gz", files / "aal.nii.gz")
    strong = maker.Strength(warp_mm=5.0)
    for seed in range(5):
        points = maker.deformation(head, np.random.default_rng(seed), strong)
        jacobian = np.stack([np.stack(np.gradient(component)) for component in points])
        determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
        assert determinant.min() > 0
        warp = maker.random_displacement(head.image.shape, np.random.default_rng(seed), strong)
        assert warp.std() > 1.0


def test_the_seed_decides_and_nothing_else(files, tmp_path):
    paths = [files / "t1.nii.gz", files / "aal.nii.gz"]
    for folder, seed, count in (("a", 1, 3), ("b", 1, 2), ("c", 2, 2)):
        maker.make_cases(tmp_path / folder, *paths, count=count, seed=seed)
    a, b, c = (read_image(tmp_path / folder / "ch2_copy02.nrrd").array for folder in "abc")
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.1
    assert (a != read_image(tmp_path / "a" / "ch2_copy01.nrrd").array).mean() > 0.1


@pytest.mark.parametrize(("t1", "aal"), [("t1", "aal_las"), ("t1_las", "aal"), ("t1_las", "aal_las")])
def test_the_direction_of_the_axes_does_not_matter(files, t1, aal):
    one = maker.load_head(files / "t1.nii.gz", files / "aal.nii.gz")
    other = maker.load_head(files / f"{t1}.nii.gz", files / f"{aal}.nii.gz")
    assert len(np.unique(one.labels)) == 13
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.image, other.image, atol=1e-6)


def test_image_and_labels_of_a_case_stay_together(files):
    """With flat contrast, structures painted into the image must lie where the labels say."""
    head = maker.load_head(files / "t1.nii.gz", files / "aal.nii.gz")
    painted = maker.Head(np.where(head.labels > 0, 1.0, 0.3).astype(np.float32), head.labels, head.affine)
    flat = maker.Strength(structure_contrast=0, gamma=0, pedestal=0, shading=0, blur_mm=0, noise=0)
    for seed in range(3):
        image, labels = maker.make_case(painted, np.random.default_rng(seed), flat)
        bright, inside = image > 0.65 * image.max(), labels > 0
        overlap = 2 * (bright & inside).sum() / (bright.sum() + inside.sum())
        assert overlap > 0.9


def test_test_case_is_the_image_with_its_labels_on_its_grid(made, files):
    case = made.test[0]
    assert case.files("image")[0].read_bytes() == (files / "t1.nii.gz").read_bytes()
    labels, affine, _ = read_segmentation(case.files("label")[0])
    np.testing.assert_allclose(affine, RAS, atol=1e-6)
    expected = atlas(phantom()[1], {value: value for value in range(1, 13)})
    np.testing.assert_array_equal(labels, expected)
