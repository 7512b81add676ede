"""One side of a case, pairs made of single images, and landmarks that share a name."""

from __future__ import annotations

from pathlib import Path

import pytest
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.errors import UserError
from RegisterModuleLib.worker.scores import landmark_metrics
from RegisterModuleLib.worker.sides import Side, fixed_side, paired, sides
from RegisterModuleLib.worker.transforms import SpatialTransform


def image(name: str) -> Source:
    return Source("image", (Path(f"/{name}.nrrd"),))


def single(name: str, **targets: Source) -> Case:
    return Case(name, {"image": image(name)}, targets, (name.upper(),), site=f"site of {name}")


def test_the_sides_of_a_pair():
    points = Source("points", (Path("/p.csv"),))
    case = Case(
        "a and b",
        {"fixed": image("a"), "moving": image("b")},
        {"moving_landmarks": points, "fixed_label": Source("labels", (Path("/l.nrrd"),))},
        ("A", "B"),
    )
    fixed, moving = sides(case)
    assert fixed == Side("a and b", (Path("/a.nrrd"),), Path("/l.nrrd"), None, "A")
    assert (moving.name, moving.images, moving.landmarks) == ("b", (Path("/b.nrrd"),), Path("/p.csv"))
    assert fixed.files == (Path("/a.nrrd"), Path("/l.nrrd"))


def test_a_single_image_and_a_label_map_alone():
    label = Source("labels", (Path("/l.nrrd"),))
    assert sides(single("a", label=label)) == (Side("a", (Path("/a.nrrd"),), Path("/l.nrrd"), None, "A"),)
    assert fixed_side(Case("l", {}, {"label": label})).images == ()


def test_a_pair_of_two_single_images_counts_for_the_moving_one():
    label, points = Source("labels", (Path("/l.nrrd"),)), Source("points", (Path("/p.csv"),))
    pair = paired(single("a", label=label), single("b", label=label, landmarks=points))
    assert (pair.name, pair.patient, pair.patients, pair.site) == ("b to a", "B", ("B", "A"), "site of b")
    assert set(pair.targets) == {"fixed_label", "moving_label", "moving_landmarks"}
    assert [side.images for side in sides(pair)] == [(Path("/a.nrrd"),), (Path("/b.nrrd"),)]


def landmarks(folder: Path, fixed: str, moving: str) -> Case:
    targets = {}
    for side, text in (("fixed", fixed), ("moving", moving)):
        (folder / f"{side}.csv").write_text("name,r,a,s\n" + text, encoding="utf-8")
        targets[f"{side}_landmarks"] = Source("points", (folder / f"{side}.csv",))
    return Case("pair", {"fixed": image("a"), "moving": image("b")}, targets)


def test_landmarks_of_one_name_belong_together_in_their_order(tmp_path):
    case = landmarks(tmp_path, "tip,0,0,0\ntip,10,0,0\nonly here,9,9,9\n", "base,5,5,5\ntip,0,0,1\ntip,10,0,3\n")
    found = landmark_metrics(case, SpatialTransform())
    assert found == {"landmarks": 2, "tre_before_mm": 2.0, "tre_mm": 2.0, "tre_max_mm": 3.0}


def test_landmarks_that_cannot_be_matched(tmp_path):
    with pytest.raises(UserError, match="2 fixed and 1 moving landmarks called 'tip'"):
        landmark_metrics(landmarks(tmp_path, "tip,0,0,0\ntip,10,0,0\n", "tip,0,0,1\n"), SpatialTransform())
    with pytest.raises(UserError, match="have no name in common"):
        landmark_metrics(landmarks(tmp_path, "tip,0,0,0\n", "base,0,0,1\n"), SpatialTransform())
    assert landmark_metrics(single("a"), SpatialTransform()) == {}
