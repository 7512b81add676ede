"""A small two-stage method: an autoencoder learns to compress points, then a classifier learns from its codes.

It has everything that makes exact resumption hard: dropout, running statistics, momentum, validation that picks the
best weights, two networks in one stage, and a second stage that starts from the weights of the first.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from MedDeepLib.core import Context
from MedDeepLib.training.engine import Trained, train
from MedDeepLib.training.randomness import random_state
from MedDeepLib.training.stages import Optimisation, Samples, TrainStage, Validation

IDENTITY = {"method": "toy", "parameters": {"depth": 1}}
STEPS = 40


def point(seed: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A point of 8 coordinates on a plane of 3 dimensions, and the side of the plane it lies on."""
    basis = random_state(seed, 1).standard_normal((3, 8))
    code = random_state(seed, 2, number).standard_normal(3)
    return torch.from_numpy((code @ basis).astype("float32")), torch.tensor(int(code[0] > 0))


def stages(context: Context, steps: int = STEPS, pause: float = 0.0, patience: int = 0, **changes):
    """The two stages.

    ``pause`` is the number of seconds that every sample takes; ``changes`` apply to the first stage's optimisation.
    """
    seed = context.seed
    torch.manual_seed(seed)
    autoencoder = torch.nn.Sequential(
        torch.nn.Linear(8, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.2), torch.nn.Linear(3, 8)
    )

    def sample(number: int) -> dict[str, torch.Tensor]:
        time.sleep(pause)
        coordinates, side = point(seed, number)
        return {"image": coordinates, "side": side}

    test = torch.stack([point(seed, 10_000 + n)[0] for n in range(64)])
    sides = torch.stack([point(seed, 10_000 + n)[1] for n in range(64)])
    yield TrainStage(
        "compress",
        {"autoencoder": autoencoder},
        Samples(4, sample=sample),
        loss=lambda output, batch: torch.nn.functional.mse_loss(output, batch["image"]),
        optimisation=Optimisation(torch.optim.Adam(autoencoder.parameters(), 0.02), steps, **changes),
        validation=Validation(
            lambda: {"fit": -float(((autoencoder(test) - test) ** 2).mean())}, "fit", every=7, patience=patience
        ),
    )
    torch.manual_seed(seed + 1)
    encoder, head = autoencoder[0], torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(3, 2))
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], 0.02)

    def update(engine, batch) -> dict[str, torch.Tensor]:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(encoder(batch["image"])), batch["side"])
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    yield TrainStage(
        "classify",
        {"head": head, "encoder": encoder},
        Samples(4, sample=lambda number: sample(number + 1_000_000)),
        update=update,
        optimisation=Optimisation(optimizer, steps),
        validation=Validation(
            lambda: {"correct": float((head(encoder(test)).argmax(1) == sides).float().mean())}, "correct", every=9
        ),
    )


def run(
    folder: Path, seed: int = 4, identity=IDENTITY, stop_after: int | None = None, report=None, **changes
) -> Trained:
    """Train both stages in ``folder``; it stops when asked for the ``stop_after``-th time."""
    asked = [0]

    def stop_requested() -> bool:
        asked[0] += 1
        return stop_after is not None and asked[0] > stop_after

    folder.mkdir(parents=True, exist_ok=True)
    context = Context(torch.device("cpu"), seed, folder, None, report or (lambda *_, **__: None), stop_requested)
    return train(stages(context, **changes), context, identity)


def run_and_save(folder: Path, **changes) -> None:
    """For a separate process: train, and write the weights at the very end."""
    torch.set_num_threads(1)
    outcome = run(folder, **changes)
    part = folder / "weights.part"
    torch.save(weights(outcome), part)
    part.rename(folder / "weights.pt")


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v.clone() for n, net in trained.networks.items() for k, v in net.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """True if all weights agree to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
