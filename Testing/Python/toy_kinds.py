"""Three small methods of different kinds on synthetic data, all of which the engine must be able to train.

``pretrained``: an autoencoder learns from many images without labels, then a classifier from a few with labels.
``boltzmann``: a restricted Boltzmann machine learns by contrastive divergence; there is no loss to differentiate.
``cascade``: a small network proposes, its sampler focused on its own errors; a second one learns from its mistakes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from MedDeepLib.core import Context
from MedDeepLib.training.engine import Trained, train
from MedDeepLib.training.samplers import ErrorWeighted, batches_of
from MedDeepLib.training.stages import Optimisation, Refresh, Samples, TrainStage, Validation

# --- gratings: 12 x 12 images of stripes of random phase; their direction is the class


def gratings(count: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    upright = torch.rand(count, generator=generator) < 0.5
    phase = 6.3 * torch.rand(count, 1, 1, generator=generator)
    frequency = 0.8 + 0.8 * torch.rand(count, 1, 1, generator=generator)
    stripes = torch.sin(frequency * torch.arange(12.0)[None, None] + phase).expand(count, 12, 12)
    image = torch.where(upright[:, None, None], stripes, stripes.transpose(1, 2))
    image = image + 0.5 * torch.randn(image.shape, generator=generator)
    return {"image": image[:, None], "label": upright.long()}


def pretrained(context: Context, steps: int = 150):
    torch.manual_seed(context.seed)
    encoder = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(3), torch.nn.Dropout(0.1)
    )
    decoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(128, 144), torch.nn.Unflatten(1, (1, 12, 12)))
    autoencoder = torch.nn.Sequential(encoder, decoder)
    unseen = gratings(200, 99)
    yield TrainStage(
        "reconstruct",
        {"autoencoder": autoencoder},
        Samples(32, batch=batches_of({"image": gratings(1000, 1)["image"]}, 32, context.seed)),
        loss=lambda output, batch: F.mse_loss(output, batch["image"]),
        optimisation=Optimisation(torch.optim.Adam(autoencoder.parameters(), 5e-3), steps, average=0.95),
        validation=Validation(
            lambda: {"fit": -float(F.mse_loss(autoencoder(unseen["image"]), unseen["image"]))}, "fit", every=30
        ),
    )
    torch.manual_seed(context.seed + 1)
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(128, 2))
    network = torch.nn.Sequential(encoder, head)
    slow, fast = torch.optim.Adam(encoder.parameters(), 1e-4), torch.optim.Adam(head.parameters(), 1e-2)

    def update(engine, batch):
        loss = F.cross_entropy(network(batch["image"]), batch["label"])
        for optimizer in (slow, fast):
            optimizer.zero_grad()
        loss.backward()
        for optimizer in (slow, fast):
            optimizer.step()
        return {"loss": loss.detach()}

    def correct() -> dict[str, float]:
        return {"correct": float((network(unseen["image"]).argmax(1) == unseen["label"]).float().mean())}

    yield TrainStage(
        "classify",
        {"classifier": network},
        Samples(16, batch=batches_of(gratings(48, 2), 16, context.seed)),
        update=update,
        optimisation=Optimisation({"slow": slow, "fast": fast}, steps),
        validation=Validation(correct, "correct", every=30),
    )


# --- bars and stripes: all 4 x 4 patterns whose rows, or whose columns, are each black or white


def bars_and_stripes() -> torch.Tensor:
    codes = (torch.arange(16)[:, None] >> torch.arange(4) & 1).float()
    rows = codes[:, :, None].expand(16, 4, 4)
    return torch.unique(torch.cat([rows, rows.transpose(1, 2)]).reshape(-1, 16), dim=0)


class Boltzmann(torch.nn.Module):
    """A restricted Boltzmann machine of 0s and 1s (Hinton 2002, 10.1162/089976602760128018)."""

    def __init__(self, visible: int = 16, hidden: int = 12):
        super().__init__()
        self.weight = torch.nn.Parameter(0.1 * torch.randn(visible, hidden))
        self.visible = torch.nn.Parameter(torch.zeros(visible))
        self.hidden = torch.nn.Parameter(torch.zeros(hidden))
        self.requires_grad_(False)

    def up(self, v: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(v @ self.weight + self.hidden)

    def down(self, h: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(h @ self.weight.T + self.visible)

    def log_likelihood(self, v: torch.Tensor) -> float:
        """The exact mean over the rows of ``v``, summed over all 2^16 states."""
        states = (torch.arange(2**16)[:, None] >> torch.arange(16) & 1).float()

        def free(x):
            return x @ self.visible + F.softplus(x @ self.weight + self.hidden).sum(1)

        return float((free(v) - free(states).logsumexp(0)).mean())


class Chains:
    """Persistent chains, from which contrastive divergence continues (Tieleman 2008, 10.1145/1390156.1390290)."""

    def __init__(self):
        self.visible = torch.zeros(15, 16)

    def state_dict(self):
        return {"visible": self.visible.clone()}

    def load_state_dict(self, state):
        self.visible = state["visible"].clone()


def boltzmann(context: Context, steps: int = 1500, persistent: bool = False, rate: float = 0.1):
    torch.manual_seed(context.seed)
    machine, patterns, chains = Boltzmann(), bars_and_stripes(), Chains()

    def update(engine, batch):
        data = batch["image"]
        positive = machine.up(data)
        start = chains.visible if persistent else data
        visible = torch.bernoulli(machine.down(torch.bernoulli(machine.up(start))))
        chains.visible = visible
        negative = machine.up(visible)
        machine.weight += rate * (data.T @ positive - visible.T @ negative) / len(data)
        machine.visible += rate * (data - visible).mean(0)
        machine.hidden += rate * (positive - negative).mean(0)
        return {"loss": F.mse_loss(machine.down(positive), data)}

    yield TrainStage(
        "contrastive divergence",
        {"machine": machine},
        Samples(15, batch=batches_of({"image": patterns}, 15, context.seed)),
        update=update,
        optimisation=Optimisation(steps=steps),
        validation=Validation(
            lambda: {"log-likelihood": machine.log_likelihood(patterns)}, "log-likelihood", every=max(1, steps // 3)
        ),
        state={"chains": chains} if persistent else {},
    )


# --- lesions: bright blobs with a dark core in plain noise, and a few similar blobs without a core

NOISE, LOOK_ALIKE, LESION = 0, 1, 2


def blobs(count: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.multinomial(torch.tensor([0.85, 0.05, 0.10]), count, True, generator=generator)
    place = 3 + 5 * torch.rand(count, 2, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(11.0), torch.arange(11.0), indexing="ij")
    distance = ((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2).sqrt()
    blob = (distance < 3).float() - (kind == LESION)[:, None, None] * 1.2 * (distance < 1.5)
    image = (kind > NOISE)[:, None, None] * 1.5 * blob + 0.4 * torch.randn(distance.shape, generator=generator)
    return {"image": image[:, None], "kind": kind}


def cascade(context: Context, steps: int = 150):
    torch.manual_seed(context.seed)
    known = blobs(1500, 3)
    lesion = (known["kind"] == LESION).float()
    # Sees intensity only: it finds the blobs, but not what is in them.
    screen = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(121, 1))
    errors = ErrorWeighted(torch.nonzero(lesion == 0)[:, 0].tolist(), 5, torch.nonzero(lesion)[:, 0].tolist())

    def binary(output, batch):
        return F.binary_cross_entropy_with_logits(output[:, 0], batch["lesion"])

    def renew():
        errors.update(torch.sigmoid(screen(known["image"][errors.others]))[:, 0])

    def batch(step: int, sampler, size=32):
        rows = torch.tensor([sampler(step * size + n) for n in range(size)])
        return {"image": known["image"][rows], "lesion": lesion[rows]}

    yield TrainStage(
        "screen",
        {"screen": screen},
        Samples(32, batch=partial(batch, sampler=errors)),
        loss=binary,
        optimisation=Optimisation(torch.optim.Adam(screen.parameters(), 1e-2), steps),
        refresh=Refresh(renew, every=20),
        state={"errors": errors},
    )
    with torch.no_grad():
        proposed = torch.sigmoid(screen(known["image"]))[:, 0] > 0.3
    mistakes = torch.nonzero(proposed & (lesion == 0))[:, 0].tolist()
    hits = torch.nonzero(lesion)[:, 0].tolist()
    torch.manual_seed(context.seed + 1)
    discriminate = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 5), torch.nn.BatchNorm2d(12), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool2d(1),
        torch.nn.Flatten(), torch.nn.Linear(12, 1),
    )  # fmt: skip
    yield TrainStage(
        "discriminate",
        {"discriminate": discriminate, "screen": screen},
        Samples(32, batch=partial(batch, sampler=ErrorWeighted(mistakes, 6, hits))),
        loss=binary,
        optimisation=Optimisation(torch.optim.Adam(discriminate.parameters(), 1e-2), steps),
    )


# --- how tests run them

KINDS = {"pretrained": pretrained, "boltzmann": boltzmann, "cascade": cascade}


def run(kind, folder: Path, stop_after: int | None = None, seed: int = 4, report=None, **changes) -> Trained:
    """Train in ``folder``, or resume there; it stops when asked for the ``stop_after``-th time."""
    asked = [0]

    def stop_requested() -> bool:
        asked[0] += 1
        return stop_after is not None and asked[0] > stop_after

    folder.mkdir(parents=True, exist_ok=True)
    context = Context(torch.device("cpu"), seed, folder, None, report or (lambda *_, **__: None), stop_requested)
    return train(kind(context, **changes), context, {"method": kind.__name__, "parameters": {}})
