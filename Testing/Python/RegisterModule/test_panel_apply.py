"""Registering by clicking: the transform puts the moving volume onto the fixed one on any grids."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from replay import at_start, phase, recorded
from toy_pairs import GRIDS, inner_points, inverse_of, matrix_of, moved_by, wave
from toy_replays import deformation, matrix, registered

TRUTH = matrix_of((5, -4, 8), (6, -5, 4))
RIGID = {"transform": "rigid", "similarity": "correlation"}
QUICK = {"steps": 25, "matrix_steps": 0}
SMALLEST_VOXEL = 2.5


def to_body(points: np.ndarray) -> np.ndarray:
    """The point of the body that the moving image shows at ``points``; the images differ by ``TRUTH``."""
    return moved_by(np.linalg.inv(TRUTH), points)


def hardened_points(transform, points: np.ndarray) -> np.ndarray:
    """The positions of markups at ``points`` after hardening the transform above them."""
    import slicer

    markups = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for point in points:
        markups.AddControlPoint(*point)
    markups.SetAndObserveTransformNodeID(transform.GetID())
    markups.HardenTransform()
    return slicer.util.arrayFromMarkupsControlPoints(markups)


def hardened_coordinates(transform, grid: str) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) and where the transform samples each from, found by hardening images of the coordinates.

    Their values are linear in the position, so interpolation is exact and a value is a position in mm.
    """
    import slicer
    from MedDeepLib.data.sources.image import Image
    from MedDeepLib.scene import nodes

    affine, shape = GRIDS[grid]
    places = moved_by(affine, np.indices(shape).reshape(3, -1).T)
    values = []
    for axis in range(3):
        ramp = places[:, axis].reshape(shape).astype(np.float64)
        volume = nodes.volume_from_image(Image(ramp[None] + 1000, affine), f"axis {axis}")
        volume.SetAndObserveTransformNodeID(transform.GetID())
        volume.HardenTransform()
        hardened = nodes.image_from_volume(volume)
        values.append(hardened.array[0].ravel() - 1000)
        slicer.mrmlScene.RemoveNode(volume)
    return moved_by(hardened.affine, np.indices(hardened.shape).reshape(3, -1).T), np.stack(values, 1)


@pytest.fixture
def keeping(panel, monkeypatch, tmp_path):
    """The panel; ``panel.written`` is a copy of the file that the last job wrote."""
    import shutil

    from RegisterModuleLib.scene import registration_jobs
    from RegisterModuleLib.worker.grids import Grid
    from RegisterModuleLib.worker.transforms import read_transform

    load = registration_jobs.transform_from_file

    def keep(path, *arguments):
        copy = tmp_path / "written.h5"
        shutil.copy(path, copy)
        panel.written = read_transform(copy, Grid(*GRIDS["plain"]))
        return load(path, *arguments)

    monkeypatch.setattr(registration_jobs, "transform_from_file", keep)
    return panel


@pytest.mark.parametrize(
    ("model", "fixed", "moving"),
    [
        ("global", "oblique", "left-handed"),
        pytest.param("global", "anisotropic", "oblique", marks=pytest.mark.slow),
        pytest.param("elastix", "oblique", "left-handed", marks=pytest.mark.slow),
    ],
)
def test_a_matrix_puts_the_moving_volume_into_place(keeping, model, fixed, moving):
    panel = keeping
    target, other = panel.add_volume("target", fixed), panel.add_volume("other", moving, to_body)
    panel.choose(model, target, other, **RIGID)
    assert panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip
    status = panel.apply()
    assert status == "Done. 'other to target' puts 'other' into place."
    (node,) = panel.transforms()
    assert node.IsA("vtkMRMLLinearTransformNode") and other.GetParentTransformNode() is node
    points = inner_points(60)
    there = moved_by(TRUTH, points)
    assert np.linalg.norm(there - points, axis=1).mean() > 8
    assert np.linalg.norm(hardened_points(node, there) - points, axis=1).max() < 0.8
    own = panel.written.of_points(points)
    assert np.linalg.norm(hardened_points(node, own) - points, axis=1).max() < 0.01 * SMALLEST_VOXEL
    assert "Similarity 0." in panel.ui.applyMetricsLabel.text and "nothing folds" in panel.ui.applyMetricsLabel.text
    assert "Similarity" in node.GetDescription()


@pytest.mark.slow
@pytest.mark.parametrize(("fixed", "moving"), [("plain", "left-handed"), ("anisotropic", "oblique")])
def test_a_deformation_is_hardened_as_the_network_warps(keeping, fixed, moving):
    panel = keeping
    bend = wave(6.0)
    target, other = panel.add_volume("target", fixed), panel.add_volume("other", moving, bend)
    panel.choose("morph", target, other, **QUICK)
    assert panel.apply().startswith("Done.")
    (node,) = panel.transforms()
    assert not node.IsLinear()
    points = inner_points(60)
    before = np.linalg.norm(inverse_of(bend, points) - points, axis=1).mean()
    after = np.linalg.norm(panel.written.of_points(points) - inverse_of(bend, points), axis=1).mean()
    assert after < 0.5 * before
    # Fiducials use the transform, the voxels of a volume its inverse.
    own = panel.written.of_points(points)
    assert np.linalg.norm(hardened_points(node, own) - points, axis=1).max() < 0.1 * SMALLEST_VOXEL
    places, sources = hardened_coordinates(node, moving)
    wanted = panel.written.of_points(places)
    index = moved_by(np.linalg.inv(GRIDS[moving][0]), wanted)
    known = (np.abs(places) < (36, 44, 38)).all(1) & ((index > 0) & (index < np.array(GRIDS[moving][1]) - 1)).all(1)
    assert known.sum() > 3000 and np.linalg.norm(wanted - places, axis=1)[known].max() > 3
    assert np.linalg.norm(sources - wanted, axis=1)[known].max() < 0.1 * SMALLEST_VOXEL


def test_a_deformation_goes_both_ways(panel):
    """Fiducials are mapped from the moving to the fixed volume, voxels are sampled the other way."""
    bend = wave(6.0)
    panel.replay(apply=registered(deformation(bend)))
    target, other = panel.add_volume("target", "anisotropic"), panel.add_volume("other", "oblique", bend)
    panel.choose("morph", target, other)
    assert panel.apply() == "Done. 'other to target' puts 'other' into place."
    (node,) = panel.transforms()
    assert node.IsA("vtkMRMLGridTransformNode") and other.GetParentTransformNode() is node
    points = inner_points(60)
    assert np.linalg.norm(hardened_points(node, bend(points)) - points, axis=1).max() < 0.1 * SMALLEST_VOXEL
    places, sources = hardened_coordinates(node, "oblique")
    wanted = bend(places)
    index = moved_by(np.linalg.inv(GRIDS["oblique"][0]), wanted)
    known = (np.abs(places) < (36, 44, 38)).all(1) & ((index > 0) & (index < np.array(GRIDS["oblique"][1]) - 1)).all(1)
    assert known.sum() > 3000 and np.linalg.norm(wanted - places, axis=1)[known].max() > 3
    assert np.linalg.norm(sources - wanted, axis=1)[known].max() < 0.1 * SMALLEST_VOXEL


def test_volumes_are_made_on_request_and_can_be_compared(panel):
    import slicer
    from MedDeepLib.scene import nodes

    target, other = panel.add_volume("target", "oblique"), panel.add_volume("other", "left-handed", to_body)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "moved")
    panel.replay(apply=registered(matrix(TRUTH), fixed="oblique"))
    panel.choose("global", target, other, **RIGID)
    panel.ui.applyVolumeSelector.setCurrentNode(volume)
    for name in ("Checkerboard", "Difference", "Jacobian"):
        getattr(panel.ui, f"apply{name}CheckBox").click()
    assert panel.ui.compareGroupBox.isHidden()
    panel.apply()
    fixed, moved = (nodes.image_from_volume(node) for node in (target, volume))
    assert moved.shape == fixed.shape and np.allclose(moved.affine, fixed.affine, atol=1e-4)
    maps = [slicer.util.getNode(f"other to target {name}") for name in ("checkerboard", "difference", "Jacobian map")]
    for value, node in enumerate((volume, *maps), start=1):
        assert (slicer.util.arrayFromVolume(node) == value).all()

    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    shown = lambda: {  # noqa: E731
        (c.GetBackgroundVolumeID(), c.GetForegroundVolumeID(), round(c.GetForegroundOpacity(), 2)) for c in composites
    }
    assert not panel.ui.compareGroupBox.isHidden()
    assert shown() == {(target.GetID(), volume.GetID(), 0.5)}
    panel.ui.compareBlendSlider.value = 0.25
    assert shown() == {(target.GetID(), volume.GetID(), 0.25)}
    panel.ui.compareSwapButton.click()
    assert shown() == {(target.GetID(), volume.GetID(), 1.0)}
    panel.ui.compareSwapButton.click()
    assert shown() == {(target.GetID(), volume.GetID(), 0.0)}
    panel.ui.compareComboBox.currentIndex = panel.ui.compareComboBox.findData("checkerboard")
    checkerboard = slicer.util.getNode("other to target checkerboard")
    assert {background for background, _, _ in shown()} == {checkerboard.GetID()}
    assert not panel.ui.compareBlendSlider.enabled


def test_without_a_volume_the_moving_one_is_compared_where_it_lies_now(panel):
    import slicer

    panel.replay(apply=registered(matrix(TRUTH)))
    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "left-handed", to_body)
    panel.choose("global", target, other, **RIGID)
    panel.apply()
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (target.GetID(), other.GetID())
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["matrix", "grid", "nested"])
def test_begins_from_the_transform_that_the_moving_volume_lies_under(keeping, kind, tmp_path):
    """It is preselected, the result includes its effect and replaces it."""
    import slicer
    from RegisterModuleLib.worker.transforms import SpatialTransform, write_transform
    from toy_pairs import displacement

    panel = keeping
    step = displacement(size=4.0) if kind == "grid" else matrix_of((0, 0, 25), (20, 0, 0))
    first = SpatialTransform((step,))
    write_transform(tmp_path / "first.h5", first)
    before = slicer.util.loadTransform(str(tmp_path / "first.h5"))
    if kind == "nested":  # the same in two steps
        outer = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "outer")
        half = np.eye(4)
        half[:3, 3] = (10, 5, 0)
        outer.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(half))
        inner = slicer.util.vtkMatrixFromArray(step @ np.linalg.inv(half))
        before.SetMatrixTransformFromParent(inner)
        before.SetAndObserveTransformNodeID(outer.GetID())
    small = matrix_of((3, 0, 2), (3, 2, -2))
    truth = lambda points: first.of_points(moved_by(small, points))  # noqa: E731
    target = panel.add_volume("target", "plain")
    other = panel.add_volume("other", "oblique", lambda points: inverse_of(truth, points))
    other.SetAndObserveTransformNodeID(before.GetID())
    panel.choose("global", target, other, **RIGID)
    assert panel.ui.applyInitialSelector.currentNode() is before
    panel.apply()
    node = other.GetParentTransformNode()
    assert node is not before
    points = inner_points(60)
    assert np.linalg.norm(panel.written.of_points(points) - truth(points), axis=1).mean() < 0.5
    assert np.linalg.norm(hardened_points(node, truth(points)) - points, axis=1).mean() < 0.5


def test_the_worker_gets_the_transform_that_the_moving_volume_lies_under(panel, tmp_path):
    """All its steps combined into one; the result replaces it."""
    import slicer
    from RegisterModuleLib.scene.transforms import transform_from_file

    begun: list = []

    def write(path):
        begun.append(transform_from_file(path.with_name("input") / "initial.h5", "begun"))
        matrix(TRUTH)(path)

    panel.replay(apply=registered(write))
    outer, inner = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", n) for n in ("outer", "inner"))
    first, second = matrix_of((0, 0, 25), (20, 0, 0)), matrix_of((0, 10, 0), (10, 5, 0))
    outer.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(first))
    inner.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(second))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "oblique")
    other.SetAndObserveTransformNodeID(inner.GetID())
    panel.choose("global", target, other, **RIGID)
    assert panel.ui.applyInitialSelector.currentNode() is inner
    assert panel.apply().startswith("Done.")
    assert other.GetParentTransformNode() not in (inner, outer, None)
    points = inner_points(20)
    there = hardened_points(begun[0], moved_by(second @ first, points))
    assert np.linalg.norm(there - points, axis=1).max() < 1e-3


def test_what_was_suggested_for_one_volume_is_not_kept_for_another(panel):
    import slicer

    target, first, second = (panel.add_volume(name, "plain") for name in ("target", "first", "second"))
    above, chosen = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", n) for n in ("above", "chosen"))
    first.SetAndObserveTransformNodeID(above.GetID())
    initial = panel.ui.applyInitialSelector
    panel.choose("global", target, first)
    assert initial.currentNode() is above
    panel.choose("global", target, second)
    assert initial.currentNode() is None
    panel.choose("global", target, first)
    assert initial.currentNode() is above
    initial.setCurrentNode(chosen)
    panel.choose("global", target, second)
    assert initial.currentNode() is chosen, "the user's own choice stays"


def test_the_fixed_volumes_own_transform_stays_above_the_result(panel):
    """Both volumes coincide in the world, wherever the fixed one has been moved."""
    import slicer

    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "left-handed", to_body)
    panel.replay(apply=registered(matrix(TRUTH)))
    above = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "above")
    away = matrix_of((0, 0, 30), (0, 15, 0))
    above.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(away))
    target.SetAndObserveTransformNodeID(above.GetID())
    panel.choose("global", target, other, **RIGID)
    panel.apply()
    node = other.GetParentTransformNode()
    assert node.GetParentTransformNode() is above
    points = inner_points(40)
    found = hardened_points(node, moved_by(TRUTH, points))
    assert np.linalg.norm(found - moved_by(away, points), axis=1).max() < 1.0


def test_a_transform_that_moves_the_fixed_volume_too_is_not_overwritten(panel):
    import slicer

    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "plain", to_body)
    inner, outer = (slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", n) for n in ("inner", "outer"))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    target.SetAndObserveTransformNodeID(inner.GetID())
    panel.choose("global", target, other, **RIGID)
    panel.ui.applyOutputSelector.setCurrentNode(outer)
    panel.ui.applyButton.click()
    assert "'outer' also moves the fixed volume 'target'" in panel.status("apply") and not panel.is_busy("apply")
    assert np.allclose(slicer.util.arrayFromTransformMatrix(outer), np.eye(4))
    assert other.GetParentTransformNode() is None


def test_a_chosen_transform_gets_the_result_if_it_can_hold_it(panel):
    import slicer

    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "plain", to_body)
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "mine")
    launcher = panel.replay(apply=registered(matrix(TRUTH)))
    panel.choose("global", target, other, **RIGID)
    panel.ui.applyOutputSelector.setCurrentNode(mine)
    panel.apply()
    assert panel.transforms() == [mine] and other.GetParentTransformNode() is mine
    assert not np.allclose(slicer.util.arrayFromTransformMatrix(mine), np.eye(4), atol=0.05)

    launcher.plays["apply"] = registered(deformation(wave(6.0)))
    panel.choose("morph", target, other)
    status = panel.apply()
    assert "'mine' cannot hold this transform" in status
    assert other.GetParentTransformNode() is not mine and not other.GetParentTransformNode().IsLinear()


def start_deforming(panel):
    """A running registration that has made progress."""
    found = registered(deformation(wave(6.0)), "register_apply_stopped")
    panel.replay(apply=replace(found, on_stop="finish")).hold(phase("Deforming"))
    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "plain", wave(6.0))
    panel.choose("morph", target, other, steps=20_000, matrix_steps=0)
    panel.ui.applyButton.click()
    panel.wait_for_status("apply", "Deforming")


def test_stop_keeps_the_best_so_far(panel):
    import slicer

    start_deforming(panel)
    (other,) = (node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetName() == "other")
    assert panel.ui.applyButton.text == "Stop" and "best transform" in panel.ui.applyButton.toolTip
    panel.ui.applyButton.click()
    status = panel.wait("apply")
    assert status.startswith("Done.") and "best transform so far is kept" in status
    assert "Stopped after" in panel.ui.applyMetricsLabel.text
    (node,) = panel.transforms()
    assert other.GetParentTransformNode() is node and not node.IsLinear()


def test_volumes_apart_are_offered_to_be_centred(panel):
    import qt
    from MedDeepLib.data.sources.image import Image
    from MedDeepLib.scene import nodes

    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "plain", to_body)
    away = nodes.affine_of(other)
    away[0, 3] += 400
    nodes.volume_from_image(Image(nodes.image_from_volume(other).array.copy(), away), "other", node=other)
    launcher = panel.replay(apply=registered(matrix(TRUTH)))
    panel.choose("global", target, other, **RIGID)
    panel.host.start(testing=False)
    try:
        with panel.host.answers(qt.QMessageBox.Cancel) as asked:
            panel.ui.applyButton.click()
        assert "do not overlap" in asked[0] and "centers" in asked[0] and not panel.is_busy("apply")
        with panel.host.answers(qt.QMessageBox.Ok):
            panel.ui.applyButton.click()
        assert launcher.workers[0].folder.job().parameters == RIGID | {"center": True}
        assert panel.wait("apply").startswith("Done.")
    finally:
        panel.host.start(testing=True)


def test_what_cannot_be_registered_is_explained(panel):
    import slicer

    target, flat = panel.add_volume("target", "plain"), panel.add_volume("flat", "plain")
    panel.choose("global", target, target)
    assert not panel.ui.applyButton.enabled and "choose another moving volume" in panel.ui.applyButton.toolTip
    panel.replay(apply=recorded("register_apply_flat"))
    panel.choose("global", target, flat)
    status = panel.apply()
    assert "'flat'" in status and "has the value 7 everywhere" in status and not panel.transforms()
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    panel.choose("global", target, empty)
    panel.ui.applyButton.click()
    assert "holds no voxels" in panel.status("apply") and not panel.is_busy("apply")


def test_nodes_deleted_meanwhile_do_not_lose_the_result(panel):
    import slicer

    target, other = panel.add_volume("target", "plain"), panel.add_volume("other", "plain", to_body)
    launcher = panel.replay(apply=registered(matrix(TRUTH)))
    launcher.hold(at_start)
    panel.choose("global", target, other, **RIGID)
    panel.ui.applyButton.click()
    for node in (target, other):
        slicer.mrmlScene.RemoveNode(node)
    launcher.workers[0].go_on()
    assert "The moving volume is gone" in panel.wait("apply")
    assert len(panel.transforms()) == 1 and panel.ui.compareGroupBox.isHidden()


def test_closing_the_scene_adds_nothing_to_the_next_one(panel):
    start_deforming(panel)
    panel.host.close_scene()
    assert panel.wait("apply") == "Stopped; nothing was added to the scene."
    assert not panel.transforms() and panel.ui.compareGroupBox.isHidden()
    assert json.loads(panel.parameters.applyOptions)["steps"] == 20_000
