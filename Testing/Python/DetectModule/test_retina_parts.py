"""The parts of the RetinaNet: anchors, loss, patches with boxes, and the search of a whole image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from DetectModuleLib.worker.anchors import Layout, layout_for
from DetectModuleLib.worker.cases import load_case
from DetectModuleLib.worker.networks.retina import retina_net
from DetectModuleLib.worker.patches import BoxPatches, finished
from DetectModuleLib.worker.references import Reading
from DetectModuleLib.worker.retina_loss import RetinaLoss, flattened
from DetectModuleLib.worker.retina_search import BestBoxes, BoxSink
from MedDeepLib.data.preparation import Plan, Prepared
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.errors import UserError
from MedDeepLib.inference.sliding import TilingOptions, apply_network
from MedDeepLib.training.batches import keeping_lists
from MedDeepLib.training.dense.augmentation import Augmentation
from MedDeepLib.training.dense.patches import CachedCase, Volume
from toy_lesions import lesion_case, write_case

ALL = Augmentation(rotation=30.0, scaling=0.2, flip_axes=(0, 1, 2), intensity=0.0, probability=1.0)
LAYOUT = Layout(((2, 2, 2), (4, 4, 4)), (((5.0, 5.0, 5.0), (7.0, 7.0, 7.0)), ((10.0, 10.0, 10.0), (14.0, 14.0, 14.0))))


# --- anchors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_finding_has_an_anchor_like_it(dimensions):
    sizes = np.exp(np.random.default_rng(0).uniform(np.log(4), np.log(40), (300, dimensions)).mean(1, keepdims=True))
    sizes = np.repeat(sizes, dimensions, 1)
    layout = layout_for(sizes, 3)
    shapes = np.concatenate([np.array(level) for level in layout.shapes])
    ratio = np.abs(np.log(sizes[:, None, 0] / shapes[:, 0])).min(1)
    assert np.exp(ratio.max()) < 1.5
    assert len(set(layout.strides)) == len(layout.strides) > 1
    assert Layout.from_dict(layout.as_dict()) == layout


def test_thick_slices_keep_their_resolution():
    layout = layout_for(np.random.default_rng(0).uniform([8, 8, 1.5], [24, 24, 3.0], (50, 3)), 2)
    assert all(stride[2] == 1 and stride[0] >= 4 for stride in layout.strides)


@pytest.mark.parametrize("sizes", [np.full((1, 3), 6.0), np.full((4, 3), 0.2), np.full((9, 2), 300.0)])
@pytest.mark.parametrize("count", [1, 4])
def test_few_or_equal_findings_have_anchors_too(sizes, count):
    layout = layout_for(sizes, count)
    assert all(len(level) == count and np.min(level) > 0 for level in layout.shapes)
    network = retina_net(1, 2, layout.strides, count, 8)
    output = network(torch.zeros(1, 1, *[24] * sizes.shape[1]))
    assert len(output["classification"]) == len(layout.strides)


def test_anchors_lie_where_the_network_looks():
    maps = [(4, 3, 2), (2, 2, 1)]
    anchors = LAYOUT.anchors(maps, torch.device("cpu"))
    assert anchors.shape == (2 * (24 + 4), 6)
    np.testing.assert_allclose(anchors[3], [-3.5, -3.5, -1.5, 3.5, 3.5, 5.5])
    np.testing.assert_allclose(anchors[-1], [-3, -3, -7, 11, 11, 7])


def test_damaged_anchors_are_named():
    with pytest.raises(UserError, match="anchors are damaged"):
        Layout.from_dict({"strides": [["x"]]})


# --- loss -------------------------------------------------------------------------------------------------


def batch_of(boxes, ignored=()) -> dict:
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 6)
    left_out = torch.tensor(ignored, dtype=torch.float32).reshape(-1, 6)
    return {"boxes": [tensor], "classes": [torch.zeros(len(tensor), dtype=torch.long)], "ignored": [left_out]}


@pytest.mark.parametrize("kind", ["focal", "hard negatives"])
@pytest.mark.parametrize("boxes", [[], [[3, 3, 3, 9, 9, 9]], [[3, 3, 3, 3, 3, 3]], [[-0.5, -0.5, -0.5, 0, 0, 0]]])
def test_the_loss_and_all_gradients_are_finite(kind, boxes):
    """Patches without boxes too, and boxes without a size."""
    torch.manual_seed(0)
    network = retina_net(1, 1, LAYOUT.strides, 2, 8)
    loss = RetinaLoss(LAYOUT, 1, kind)(network(torch.randn(1, 1, 16, 16, 16)), batch_of(boxes))
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def perfect(boxes, scores: float, size: int = 16) -> dict:
    """The output of a network that says everything right, with so high scores before the sigmoid."""
    loss = RetinaLoss(LAYOUT, 1, "focal")
    maps = [(8, 8, 8), (4, 4, 4)]
    anchors = LAYOUT.anchors(maps, torch.device("cpu"))
    matches = loss._matches(batch_of(boxes), 0, anchors, [512, 64])
    from DetectModuleLib.worker.retina_loss import coder

    target = torch.full((len(anchors), 1), -scores)
    target[matches >= 0] = scores
    codes = torch.zeros(len(anchors), 6)
    found = batch_of(boxes)["boxes"][0][matches[matches >= 0]]
    codes[matches >= 0] = coder(3).encode_single(found, anchors[matches >= 0])

    def as_maps(values):
        parts = values.split([1024, 128])
        return [
            part.reshape(*size, 2 * values.shape[1]).permute(3, 0, 1, 2)[None]
            for part, size in zip(parts, maps, strict=True)
        ]

    return {"classification": as_maps(target), "box_regression": as_maps(codes)}


def test_a_perfect_network_has_no_loss_and_finds_the_boxes():
    boxes = [[3, 3, 3, 9, 9, 9], [6, 5, 4, 15, 15, 15]]
    output = perfect(boxes, 20.0)
    assert float(RetinaLoss(LAYOUT, 1, "focal")(output, batch_of(boxes))) < 1e-6
    scores, codes = flattened(output, 1, 3)
    assert scores.shape == (1, 1152, 1) and codes.shape == (1, 1152, 6)

    class Fixed(torch.nn.Module):
        def forward(self, image):
            return output

    rows = BestBoxes(Fixed(), LAYOUT, 1)(torch.zeros(1, 1, 16, 16, 16))[0]
    found = rows[rows[:, 0] > 0.5][:, 2:]
    for box in boxes:
        assert (found - torch.tensor(box)).abs().amax(1).min() < 1e-3


def test_what_can_only_partly_be_seen_is_neither_finding_nor_background():
    output = perfect([], 20.0)
    output["classification"][0][:] = 20.0  # a finding at every place of the finest level
    everywhere = [[-20, -20, -20, 40, 40, 40]]
    loss = RetinaLoss(LAYOUT, 1, "focal")
    assert float(loss(output, batch_of([]))) > 100
    assert float(loss(output, batch_of([], everywhere))) < 1e-6


# --- patches ----------------------------------------------------------------------------------------------


@pytest.fixture
def case(tmp_path) -> CachedCase:
    made = lesion_case(np.random.default_rng(5), findings=2, distractors=0)
    entry = write_case(tmp_path, "a", made)
    one = Case(
        "a",
        {"image": Source("image", (tmp_path / entry["image"],))},
        {"findings": Source("boxes", (tmp_path / entry["findings"],))},
    )
    return load_case(one, Plan((1.5, 1.5, 2.0), (24, 24, 16), "unclipped"), Reading(("ball",)), 1, 0)


@pytest.mark.parametrize("size", [(24, 24, 16), (24, 24, 1)])
def test_boxes_follow_their_findings_through_every_change(case, size):
    """Turned, scaled and mirrored: what is bright lies in the box, in 3D and 2D."""
    axes = tuple(axis for axis in (0, 1, 2) if size[axis] > 1)
    augmentation = Augmentation(30.0, 0.2, 0.0, axes, 0.0, 1.0)
    patches = BoxPatches([case], size, augmentation, seed=1, share=1.0)
    checked = 0
    for number in range(40):
        patch = finished(patches(number), torch.Generator())
        image = patch["image"][0].numpy()
        bright = image > (image.max() + np.median(image)) / 2
        for low, high in (box.numpy().reshape(2, -1) for box in patch["boxes"]):
            inside = tuple(slice(max(0, int(np.ceil(a))), int(np.floor(b)) + 1) for a, b in zip(low, high, strict=True))
            share = bright[inside].mean()
            # A ball fills half of its box, and a slice near its pole less of it.
            assert share > (0.25 if size[2] > 1 else 0.05), "the box has left its finding"
            checked += 1
        for box in [*patch["boxes"], *patch["ignored"]]:
            low, high = box.numpy().reshape(2, -1)
            bright[tuple(slice(max(0, int(a) - 2), int(b) + 4) for a, b in zip(low, high, strict=True))] = False
        assert bright.sum() < 12 or not len(patch["boxes"]), "something bright lies outside all boxes"
    assert checked >= 30


def test_samples_are_a_function_of_their_number(case):
    first, second = (BoxPatches([case], (16, 16, 16), ALL, seed=3) for _ in range(2))
    for number in (5, 2, 5):
        one, other = (finished(patches(number), torch.Generator().manual_seed(1)) for patches in (first, second))
        assert torch.equal(one["image"], other["image"]) and torch.equal(one["boxes"], other["boxes"])


def test_a_batch_keeps_lists_of_boxes(case):
    patches = BoxPatches([case], (16, 16, 16), ALL, seed=3)
    samples = [finished(patches(number), torch.Generator()) for number in range(4)]
    batch = keeping_lists("boxes", "classes", "ignored")(samples)
    assert batch["image"].shape == (4, 1, 16, 16, 16) and len(batch["boxes"]) == 4


def test_selective_sampling_prefers_the_places_of_errors(case):
    patches = BoxPatches([case], (16, 16, 16), ALL, seed=3, share=0.5, selective=True)
    assert patches.weighted is not None
    errors = np.zeros(len(patches.weighted.others))
    errors[7] = 1.0
    patches.weighted.update(errors)
    chosen = [patches._place(number, np.random.RandomState(number))[1] for number in range(60)]
    wrong = sum(np.array_equal(place, patches._places[7][1]) for place in chosen)
    assert 15 < wrong < 45
    assert patches.plain(7).shape == (1, 16, 16, 16)


# --- search -----------------------------------------------------------------------------------------------


def prepared(shape) -> Prepared:
    image = torch.rand(1, *shape)
    return Prepared(image, np.eye(4), (0, 1, 2), (False, False, False), shape, np.ones(3), np.zeros(3))


class Landmarks(torch.nn.Module):
    """Finds a box around every voxel of a given value; the score is the fraction of that value."""

    def __init__(self, rows: int = 32):
        super().__init__()
        self.rows = rows

    def forward(self, image):
        found = torch.zeros(len(image), self.rows, 2 + 2 * (image.ndim - 2))
        for number, one in enumerate(image):
            places = (one[0] > 1.0).nonzero().float()[: self.rows]
            for row, place in enumerate(places):
                score = one[0][tuple(place.long())] - 1.0
                found[number, row] = torch.cat([score[None], torch.zeros(1), place - 2.5, place + 2.5])
        return found


def test_each_finding_once_whatever_the_tiles():
    case = prepared((40, 36, 30))
    random = np.random.default_rng(1)
    places = np.unique(random.integers(0, [40, 36, 30], (60, 3)), axis=0)
    for number, place in enumerate(places):
        case.image[(0, *place)] = 1.1 + 0.8 * number / len(places)
    for size in ((40, 36, 30), (16, 16, 16), (20, 16, 18)):
        sink = BoxSink(LAYOUT, size, overlap=0.5)
        found = apply_network(Landmarks(64), case, TilingOptions(size, whole_image=True), torch.device("cpu"), sink)
        kept = {tuple(np.rint(row[:3]).astype(int)) for row in found.rows}
        missing = [place for place in map(tuple, places) if place not in kept]
        for place in missing:  # only such as lie beside a higher one
            assert min(np.abs(np.subtract(other, place)).sum() for other in kept) <= 4
        assert len(found.scores) == len(kept) and (np.diff(found.scores) <= 0).all()


def test_slices_become_boxes_of_the_volume():
    case = prepared((20, 20, 8))
    case.image[0, 10, 9, 3:6] = torch.tensor([1.3, 1.9, 1.4])
    layout = Layout(((2, 2),), (((5.0, 5.0),),))
    sink = BoxSink(layout, (20, 20, 1), overlap=0.2)
    found = apply_network(Landmarks(), case, TilingOptions((20, 20, 1), whole_image=True), torch.device("cpu"), sink)
    np.testing.assert_allclose(found.rows, [[10, 9, 4, 5, 5, 3]], atol=1e-5)
    assert found.scores == pytest.approx([0.9], abs=1e-5)


def test_ten_thousand_candidates_are_bounded_and_said():
    sink = BoxSink(Layout(((2, 2, 2),), (((1.0, 1.0, 1.0),),)), (64, 64, 64), overlap=0.5)

    class Everywhere(torch.nn.Module):
        def forward(self, image):
            places = torch.stack(torch.meshgrid(*[torch.arange(0.0, 64, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
            score = torch.rand(len(places), 1, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.4
            return torch.cat([score, torch.zeros_like(score), places - 0.5, places + 0.5], 1)[None]

    found = apply_network(
        Everywhere(), prepared((64, 64, 64)), TilingOptions((64, 64, 64), whole_image=True), torch.device("cpu"), sink
    )
    assert len(found.scores) == 5000 and found.scores.min() > 0.6
    (remark,) = sink.remarks()
    assert "5648 candidates with the lowest scores were dropped" in remark


def test_the_volume_of_a_case_is_that_of_its_file(case):
    assert case["image"].shape[1:] == (48, 48, 32) and isinstance(case.volumes["image"], Volume)
