"""Stages of all kinds, run by several processes together."""

from __future__ import annotations

import json
import multiprocessing
from datetime import timedelta
from pathlib import Path

import torch
import torch.nn.functional as F
from MedDeepLib.core import Context
from MedDeepLib.errors import Stopped
from MedDeepLib.jobs.events import EventWriter
from MedDeepLib.training.engine import train
from MedDeepLib.training.randomness import random_state
from MedDeepLib.training.stages import DataStage, FitStage, Optimisation, Samples, TrainStage, Validation

STEPS = 30
ITEMS = 7


def line(context: Context, batch_size: int, micro_batches: int = 1):
    """Two stages: weights learned by gradients, then a mean learned by a custom update rule."""
    torch.manual_seed(7)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def sample(number: int):
        x = torch.from_numpy(random_state(1, number).standard_normal(3).astype("float32"))
        return {"image": x, "target": (x.sum() ** 2)[None], "number": torch.tensor(number)}

    seen = []

    def augment(sample, generator):
        return sample | {"image": sample["image"] + 0.1 * torch.randn(3, generator=generator)}

    def loss(output, batch):
        seen.extend(batch["number"].tolist())
        return F.mse_loss(output, batch["target"])

    optimizer = torch.optim.SGD(network.parameters(), 0.02)
    yield TrainStage(
        "gradients",
        {"network": network},
        Samples(batch_size, sample=sample, augment=augment),
        loss=loss,
        optimisation=Optimisation(optimizer, STEPS, micro_batches=micro_batches, average=0.9),
        validation=Validation(lambda: {"fit": -float((network(torch.ones(1, 3)) - 9) ** 2)}, "fit", every=10),
    )
    (context.folder / f"seen.{_rank()}.json").write_text(json.dumps(seen))
    mean = torch.nn.Linear(1, 1)

    def update(engine, batch):
        with torch.no_grad():
            mean.bias += 0.1 * (batch["target"].mean() - mean.bias)
        return {"loss": 0.0}

    yield TrainStage(
        "own rule", {"mean": mean}, Samples(8, sample=sample), update=update, optimisation=Optimisation(steps=STEPS)
    )


def shared(context: Context, batch_size: int, micro_batches: int = 1):
    """Items shared by processes, arrays fitted by one, and a forward pass of two trained networks and a fixed one."""

    def make(number: int):
        with (context.folder / f"made.{_rank()}.txt").open("a") as file:
            file.write(f"{number}\n")
        return {"x": torch.from_numpy(random_state(2, number).standard_normal(3).astype("float32"))}

    yield (items := DataStage("items", ITEMS, make))
    yield (mean := FitStage("mean", lambda context: {"x": torch.stack([item["x"] for item in items]).mean(0)}))
    torch.manual_seed(7)
    encoder, head = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
    networks = {"fixed": torch.nn.Linear(3, 4), "encoder": encoder, "head": head}

    def forward(networks, batch):
        return {"value": networks["head"](torch.tanh(networks["encoder"](batch["x"]) + networks["fixed"](batch["x"])))}

    yield TrainStage(
        "both",
        networks,
        Samples(batch_size, sample=lambda number: {"x": items[number % ITEMS]["x"] - mean.arrays["x"]}),
        loss=lambda output, batch: F.mse_loss(output["value"], batch["x"].prod(1, keepdim=True)),
        forward=forward,
        optimisation=Optimisation(
            torch.optim.SGD([*encoder.parameters(), *head.parameters()], 0.05), STEPS, micro_batches=micro_batches
        ),
    )


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


KINDS = {"line": line, "shared": shared}


def trained(
    folder: Path, batch_size: int, stop_after: int | None = None, micro_batches: int = 1, kind: str = "line"
) -> None:
    """Train and write the weights; it stops when asked for the ``stop_after``-th time."""
    folder.mkdir(exist_ok=True)
    asked = [0]

    def stop_requested() -> bool:
        asked[0] += 1
        return stop_after is not None and asked[0] > stop_after

    report = EventWriter(folder / "events.jsonl") if _rank() == 0 else (lambda *_, **__: None)
    context = Context(torch.device("cpu"), 3, folder, None, report, stop_requested)
    try:
        outcome = train(KINDS[kind](context, batch_size, micro_batches), context, {"method": kind})
    except Stopped:
        return
    weights = {f"{name}.{key}": value for name, state in outcome.weights().items() for key, value in state.items()}
    torch.save(weights, folder / f"weights.{_rank()}.pt")


def process(rank: int, count: int, folder: Path, arguments: tuple) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder.with_suffix('.rendezvous')}"
    torch.distributed.init_process_group("gloo", rendezvous, rank=rank, world_size=count, timeout=timedelta(seconds=60))
    trained(folder, *arguments)
    torch.distributed.destroy_process_group()


def together(count: int, folder: Path, *arguments) -> None:
    """Train with ``count`` processes; raises AssertionError unless all end well."""
    folder.with_suffix(".rendezvous").unlink(missing_ok=True)
    context = multiprocessing.get_context("forkserver")  # forked processes need not import it again
    context.set_forkserver_preload(["toy_ranks", "monai.engines"])
    processes = [context.Process(target=process, args=(rank, count, folder, arguments)) for rank in range(count)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(240)
    assert [each.exitcode for each in processes] == [0] * count
