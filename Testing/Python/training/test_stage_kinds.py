"""Methods of very different kinds train on the one engine: each learns, and each can be interrupted anywhere."""

from __future__ import annotations

import pytest
import torch
from MedDeepLib.errors import Stopped
from MedDeepLib.training.stages import Optimisation, Samples, TrainStage
from toy_kinds import LESION, LOOK_ALIKE, bars_and_stripes, blobs, boltzmann, cascade, gratings, pretrained, run
from toy_stages import equal, weights


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """How many threads add up a sum changes its last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_classifier_learns_from_few_labels_on_what_an_autoencoder_has_learnt(tmp_path):
    outcome = run(pretrained, tmp_path / "trained")
    untrained = run(pretrained, tmp_path / "untrained", steps=1)
    # The best constant output is the mean, 0, with an error of the variance of signal and noise, 0.75.
    assert outcome.metrics["reconstruct"]["fit"] > -0.55 > -0.7 > untrained.metrics["reconstruct"]["fit"]
    assert outcome.metrics["classify"]["correct"] > 0.9 > 0.75 > untrained.metrics["classify"]["correct"]
    network, test = outcome.networks["classifier"], gratings(500, 1234)
    assert (network.eval()(test["image"]).argmax(1) == test["label"]).float().mean() > 0.9


@pytest.mark.parametrize("persistent", [False, True])
def test_a_boltzmann_machine_learns_by_contrastive_divergence(tmp_path, persistent):
    """Evaluated by the exact likelihood of the data: 30 of 65536 patterns; the best possible is ln(1/30) = -3.4."""
    machine = run(boltzmann, tmp_path / "trained", persistent=persistent).networks["machine"]
    untrained = run(boltzmann, tmp_path / "untrained", persistent=persistent, steps=1).networks["machine"]
    patterns = bars_and_stripes()
    assert len(patterns) == 30
    assert machine.log_likelihood(patterns) > -6.5 > -10 > untrained.log_likelihood(patterns)


def found(networks, image) -> torch.Tensor:
    with torch.no_grad():
        proposed = torch.sigmoid(networks["screen"].eval()(image))[:, 0] > 0.3
        kept = torch.sigmoid(networks["discriminate"].eval()(image))[:, 0] > 0.5
    return proposed, proposed & kept


def test_the_second_network_of_a_cascade_removes_the_mistakes_of_the_first(tmp_path):
    test = blobs(2000, 77)
    lesion, alike = test["kind"] == LESION, test["kind"] == LOOK_ALIKE
    proposed, kept = found(run(cascade, tmp_path / "trained").networks, test["image"])
    assert proposed[lesion].float().mean() > 0.9 and proposed[alike].float().mean() > 0.5
    assert kept[lesion].float().mean() > 0.8 and kept[alike].float().mean() < 0.2
    before, after = (float((lesion & p).sum() / p.sum()) for p in (proposed, kept))
    assert after > 0.85 > 0.75 > before
    _, guess = found(run(cascade, tmp_path / "untrained", steps=1).networks, test["image"])
    assert float((lesion & guess).sum() / max(1, guess.sum())) < 0.5


@pytest.fixture(scope="module")
def undisturbed(one_thread, tmp_path_factory):
    """The weights of each kind, trained without interruption; each once for all tests."""
    known = {}

    def of(kind, **changes):
        key = kind.__name__, *sorted(changes.items())
        if key not in known:
            known[key] = weights(run(kind, tmp_path_factory.mktemp("undisturbed"), **changes))
        return known[key]

    return of


KINDS = [
    (pretrained, {"steps": 40}, (0, 29, 30, 39, 40, 55, 75)),
    (boltzmann, {"steps": 40, "persistent": True}, (0, 12, 13, 26, 38)),
    (cascade, {"steps": 45}, (5, 19, 20, 21, 39, 40, 44, 45, 46, 70)),
]


@pytest.mark.parametrize(
    ("kind", "changes", "moment"), [(kind, changes, m) for kind, changes, moments in KINDS for m in moments]
)
def test_stopped_and_resumed_is_as_if_never_stopped(undisturbed, tmp_path, kind, changes, moment):
    """When a sampler is updated, between stages, while chains run, with averaged weights and two optimisers."""
    with pytest.raises(Stopped):
        run(kind, tmp_path, stop_after=moment, **changes)
    assert equal(weights(run(kind, tmp_path, **changes)), undisturbed(kind, **changes))


def test_stopped_at_every_few_steps(undisturbed, tmp_path):
    for _ in range(100):
        try:
            outcome = run(cascade, tmp_path, stop_after=6, steps=45)
            break
        except Stopped:
            continue
    assert equal(weights(outcome), undisturbed(cascade, steps=45))


def fine_tuned(context, steps: int = 20):
    """Both stages train the same network, under the same name, and the first makes the data of the second."""
    torch.manual_seed(context.seed)
    network = torch.nn.Linear(4, 1)
    points = torch.randn(64, 4)

    def stage(name, target):
        def batch(step):
            rows = torch.arange(step * 4, step * 4 + 4) % 64
            return {"image": points[rows], "target": target[rows]}

        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        loss = torch.nn.functional.mse_loss
        return TrainStage(
            name,
            {"network": network},
            Samples(4, batch=batch),
            loss=lambda output, batch: loss(output, batch["target"]),
            optimisation=Optimisation(optimizer, steps),
        )

    yield stage("first", points.sum(1, keepdim=True))
    with torch.no_grad():
        answers = network(points)
    yield stage("second", 2 * answers)


@pytest.mark.parametrize("moment", [25, 35])
def test_what_a_stage_has_made_is_the_same_when_a_later_one_has_changed_the_network(undisturbed, tmp_path, moment):
    with pytest.raises(Stopped):
        run(fine_tuned, tmp_path, stop_after=moment)
    assert equal(weights(run(fine_tuned, tmp_path)), undisturbed(fine_tuned))
