"""The layers of the classification methods, against their formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ClassifyModuleLib.worker.evidence import grad_cam
from ClassifyModuleLib.worker.images import Grid
from ClassifyModuleLib.worker.networks.brainnet import BrainNet, EdgeToEdge, edge_weights
from ClassifyModuleLib.worker.networks.convolutional import SliceWise, image_network
from ClassifyModuleLib.worker.networks.perceptron import Perceptron
from ClassifyModuleLib.worker.reference import Reference, fitted


def test_edge_to_edge_sums_a_row_and_a_column():
    torch.manual_seed(0)
    layer, matrix = EdgeToEdge(2, 3, 5), torch.randn(1, 2, 5, 5)
    found = layer(matrix)
    row, column = layer.row.weight[:, :, 0], layer.column.weight[..., 0]  # (maps, channels, d)
    for i in range(5):
        for j in range(5):
            expected = layer.row.bias + (row * matrix[0, :, i]).sum((1, 2)) + (column * matrix[0, :, :, j]).sum((1, 2))
            assert torch.allclose(found[0, :, i, j], expected, atol=1e-5)


def test_the_weights_of_edges_are_derivatives():
    torch.manual_seed(0)
    network, matrix = BrainNet(4, 2, (3,), 4, 5, 5, 0.5).double().eval(), torch.randn(1, 1, 4, 4).double()
    weights = edge_weights(network, matrix, 1)
    moved = matrix.clone()
    moved[0, 0, 1, 2] += 1e-6
    assert float(weights[1, 2]) == pytest.approx(float((network(moved) - network(matrix))[0, 1]) / 1e-6, rel=1e-3)


def test_pruning_keeps_the_wanted_number_of_weights_for_good():
    torch.manual_seed(0)
    network = Perceptron(10, (8, 4), 2, 0.0)
    network.prune(60)
    assert network.kept == 60 < network.connections
    before = [layer.mask.clone() for layer in network.layers]
    network.prune(20)
    assert network.kept == 20
    assert all((old >= layer.mask).all() for old, layer in zip(before, network.layers, strict=True))
    assert all(layer.mask.any() for layer in network.layers)


def test_units_that_join_change_nothing_at_first():
    torch.manual_seed(0)
    network, inputs = Perceptron(5, (12,), 2, 0.0).eval(), torch.randn(7, 5)
    network.use_units(3)
    network.layers[1].weight.data[:, :3] = 1.0
    before = network(inputs)
    network.use_units(8)
    assert torch.allclose(network(inputs), before)
    network.layers[1].weight.data[:, 3:8] = 1.0
    assert not torch.allclose(network(inputs), before)
    assert (network.embed(inputs)[:, 8:] == 0).all()


def test_a_network_of_slices_sees_each_with_its_neighbours():
    seen = []

    def backbone(images):
        seen.append(images)
        return images.mean((2, 3))

    volume = torch.arange(4.0).expand(1, 2, 6, 6, 4)
    SliceWise.forward(type("Of", (), {"backbone": staticmethod(backbone)})(), volume)
    assert seen[0].shape == (4, 6, 6, 6)
    assert [values[:3, 0, 0].tolist() for values in seen[0]] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


@pytest.mark.parametrize("dimensions, shape", [("2", (32, 40)), ("2.5", (32, 40, 5)), ("3", (32, 40, 32))])
@pytest.mark.parametrize("name", ["densenet", "resnet10", "efficientnet-b0", "alexnet"])
def test_grad_cam_has_the_size_of_the_input(name, dimensions, shape):
    torch.manual_seed(0)
    network = image_network(name, dimensions, 2, 3, 0.1, 4).eval()
    image = torch.randn(1, 2, *shape)
    assert network(image).shape == (1, 3)
    found = grad_cam(network, image, 1)
    assert tuple(found.shape) == shape and 0 <= float(found.min()) <= float(found.max()) <= 1


def test_a_map_lies_where_the_network_saw_it():
    """On an image whose axes run otherwise, and which the network saw at half the resolution."""
    native = np.array([[0, 0, -1.0, 30], [-1.0, 0, 0, 40], [0, 1.0, 0, -5], [0, 0, 0, 1]])  # left, anterior, superior
    own = np.diag([2.0, 2.0, 2.0, 1.0])
    own[:3, 3] = (10, 20, 0)
    array = np.zeros((8, 8, 8), np.float32)
    array[2, 3, 4] = 1
    found = Grid(own, (40, 40, 40), native).to_native(array)
    peak = np.unravel_index(found.argmax(), found.shape)
    assert np.allclose((native @ [*peak, 1])[:3], (own @ [2, 3, 4, 1])[:3])


def plan(**more):
    return {"answer": "class", "priors": [0.9, 0.1], "balanced": True, "mean": 0.0, "scale": 1.0} | more


class Silent:
    def report(self, *_, **__):
        pass


def reference(**more) -> Reference:
    from ClassifyModuleLib.worker.data import Arrays, Part, TrainingData

    random = np.random.default_rng(1)
    answers = torch.from_numpy((np.arange(200) % 10 == 0).astype(np.int64))
    features = torch.from_numpy(random.normal(size=(200, 6)).astype(np.float32))
    features[:, 0] += 3 * answers
    # Scores of a network that was trained in balance and is twice as sure as it should be.
    balanced = features[:, 0] * 3 - 4.5
    scores = torch.stack([torch.zeros(200), 2 * balanced], 1)
    part = Part(Arrays(features), answers, ("",) * 200)
    data = TrainingData(part, part, ("benign", "malignant"), torch.tensor([0.9, 0.1]), torch.ones(2), False)
    return Reference(fitted(data, features, features, scores, plan(**more), Silent()), plan(**more))


def test_probabilities_are_calibrated_at_the_frequencies_of_the_training():
    known = reference()
    assert float(known.arrays["temperature"]) == pytest.approx(2.0, rel=0.3)
    even = known.probabilities(torch.tensor([[0.0, 0.0]]))
    assert even[0] == pytest.approx([0.9, 0.1], abs=1e-6)
    decided = known.decisions(known.probabilities(torch.tensor([[0.0, 1.0], [0.0, -1.0]])))
    assert decided.tolist() == [1, 0], "what counts is whether a probability exceeds the frequency"


def test_a_case_far_from_the_training_cases_is_unlike_them():
    known, random = reference(), np.random.default_rng(2)
    typical = [known.typicality(torch.from_numpy(random.normal(size=6).astype(np.float32)))[1] for _ in range(100)]
    assert sum(typical) <= 15, "5 % are expected"
    assert known.typicality(torch.full((6,), 9.0))[1]
    number, answer, similarity = known.nearest(known.arrays["features"][7].float(), 3)[0]
    assert (number, similarity) == (7, pytest.approx(1.0, abs=1e-3)) and answer in (0, 1)
