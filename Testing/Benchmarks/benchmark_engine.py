"""Training: the overhead of the engine over a bare loop, the time saved by the cache, and whether a GPU waits for data.

    PYTHONPATH=MedDeepExtension:SegmentModule python Testing/Benchmarks/benchmark_engine.py [--device cuda]

1. Steps per second of the engine over those of a bare PyTorch loop: same network, loss, optimiser, batches in memory.
2. Time of an epoch, from the second one on, over that of the plain MONAI recipe: the same network on patches of the
   same size, by ``Dataset`` (nothing cached), ``DataLoader`` and MONAI's transforms on the CPU.
3. On a GPU: the share of a step for which it waits for data, from the time of steps with patches that are cut and
   augmented and that of steps that repeat one batch.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the worker; before torch is loaded
_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from MedDeepLib.core import Context, get  # noqa: E402
from MedDeepLib.data.sources.image import write_image  # noqa: E402
from MedDeepLib.devices import torch_device  # noqa: E402
from MedDeepLib.devices.threads import available_cores  # noqa: E402
from MedDeepLib.training.batches import BatchStream  # noqa: E402
from MedDeepLib.training.dense import patches  # noqa: E402
from MedDeepLib.training.dense.augmentation import Augmentation  # noqa: E402
from MedDeepLib.training.engine import train  # noqa: E402
from MedDeepLib.training.precision import autocast_dtype  # noqa: E402
from MedDeepLib.training.randomness import random_state  # noqa: E402
from MedDeepLib.training.samplers import EachOnce  # noqa: E402
from MedDeepLib.training.stages import Optimisation, Samples, TrainStage  # noqa: E402
from SegmentModuleLib.task import TASK  # noqa: E402
from SegmentModuleLib.worker.losses import SegmentationLoss  # noqa: E402
from verdicts import load, row  # noqa: E402

LEAST_OVER_BARE = 0.95
MOST_OVER_MONAI = 0.5
MOST_WAITING = 0.05
BATCH = 2
SHAPE = (160, 192, 160)
# Patch and feature maps: small enough to train on a CPU, and the sizes for which the goals on a GPU are set.
SIZES = {"cpu": (48, (8, 16, 32, 64)), "cuda": (96, (32, 64, 128, 256, 320))}
AUGMENTATION = Augmentation(rotation=15, scaling=0.15, elastic=1.5, intensity=0.5)


def main() -> int:
    options = _parser().parse_args()
    device, sentence = torch_device(options.device)
    torch.set_num_threads(available_cores())
    edge, features = SIZES.get(device.type, SIZES["cpu"])
    bench = Bench(device, edge, features, options.steps)
    print(f"{sentence} {torch.get_num_threads()} threads, {load()}. Batches of {BATCH} patches of {edge}^3.")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        verdicts = bench.engine_and_bare(Path(folder), options.repeats)
        verdicts += bench.epochs(Path(folder), options.cases)
    if device.type == "cuda":
        verdicts += bench.waiting()
    return 0 if all(verdicts) else 1


class Bench:
    """One network size on one device."""

    def __init__(self, device: torch.device, edge: int, features: tuple[int, ...], steps: int):
        self.device, self.size, self.steps = device, (edge,) * 3, steps
        method = get("segment", "unet")
        self._method = method(method.Parameters(features=features, resolution="full", patch_size=self.size))
        self._loss = SegmentationLoss("dice_ce")
        self._autocast = autocast_dtype("auto", device)

    def engine_and_bare(self, folder: Path, repeats: int) -> list[bool]:
        """Both in turn, several times, so that a change of the computer's load affects both alike."""
        generator = torch.Generator().manual_seed(0)
        shape = (BATCH, 1, *self.size)
        batches = [
            {
                "image": torch.randn(shape, generator=generator).to(self.device),
                "label": torch.randint(0, 3, shape, generator=generator).to(self.device),
            }
            for _ in range(4)
        ]
        seconds = {"engine": [], "bare": []}
        for turn in range(repeats + 1):
            taken = {
                "engine": self._engine(folder / f"engine{turn}", batches),
                "bare": self._bare(batches),
            }
            for name, value in taken.items():
                if turn:  # the first turn is a warm-up
                    seconds[name].append(value)
        for name, values in seconds.items():
            row(f"milliseconds a step: {name}", 1000 * median(values))
        ratios = [bare / engine for engine, bare in zip(seconds["engine"], seconds["bare"], strict=True)]
        return [row("steps per second, engine / bare loop", median(ratios), least=LEAST_OVER_BARE)]

    def epochs(self, folder: Path, count: int) -> list[bool]:
        files = _write_cases(folder / "cases", count)
        ours = self._our_epochs(folder, files)
        theirs = self._monai_epochs(files)
        row("seconds an epoch: engine, the first one, with reading", ours[0])
        row("seconds an epoch: engine, the second one", ours[1])
        row("seconds an epoch: plain MONAI recipe, the second one", theirs[1])
        return [row("time of the second epoch, engine / MONAI", ours[1] / theirs[1], most=MOST_OVER_MONAI)]

    def waiting(self) -> list[bool]:
        """Real patches against one repeated batch, in a bare loop."""
        cases = [_cached_case(number) for number in range(4)]
        network, optimizer = self._network()
        steps = 10 * self.steps
        stage = self._patch_stage(network, optimizer, cases, steps)
        stream = (batch.pieces[0][0] for batch in BatchStream(stage, 0, self.device, 1))
        same = next(stream)
        for _ in range(10):
            self._step(network, optimizer, next(stream))
        seconds = {}
        for name, batches in (("the same batch", [same] * self.steps), ("patches", stream)):
            torch.cuda.synchronize(self.device)
            began, done = time.perf_counter(), 0
            for batch in batches:
                self._step(network, optimizer, batch)
                done += 1
                if done == self.steps:
                    break
            torch.cuda.synchronize(self.device)
            seconds[name] = (time.perf_counter() - began) / done
            row(f"milliseconds a step: {name}", 1000 * seconds[name])
        share = 1 - seconds["the same batch"] / seconds["patches"]
        return [row("share of a step for which the card waits for data", share, most=MOST_WAITING)]

    def _network(self) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = self._method.network(1, 3).to(self.device).train()
        return network, torch.optim.AdamW(network.parameters(), 1e-3)

    def _step(self, network, optimizer, batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None):
            output = network(batch["image"])
        self._loss(output.float(), batch).backward()
        optimizer.step()

    def _bare(self, batches) -> float:
        network, optimizer = self._network()
        self._step(network, optimizer, batches[0])
        return self._timed(lambda: [self._step(network, optimizer, batches[n % 4]) for n in range(self.steps)])

    def _engine(self, folder: Path, batches) -> float:
        """Seconds per step, from the second step on, measured in the loss function."""
        folder.mkdir()
        network, optimizer = self._network()
        moments = []

        def loss(output, batch):
            if len(moments) in (0, self.steps):
                self._synchronize()
            moments.append(time.perf_counter())
            return self._loss(output, batch)

        stage = TrainStage(
            "bench",
            {"network": network},
            Samples(BATCH, batch=lambda step: batches[step % 4]),
            loss=loss,
            optimisation=Optimisation(optimizer, steps=self.steps + 1, dtype=self._autocast),
        )
        train([stage], Context(self.device, folder=folder), {})
        return (moments[self.steps] - moments[0]) / self.steps

    def _our_epochs(self, folder: Path, files: list[tuple[Path, Path]]) -> list[float]:
        """The method unchanged, with its own reading of cases; the sampler records when epochs end."""
        import json

        from MedDeepLib.data.dataset import load_dataset

        cases = [{"image": str(image), "label": str(label)} for image, label in files]
        (folder / "data.json").write_text(json.dumps({"labels": {"1": "a", "2": "b"}, "training": cases}))
        per_epoch = len(files) // BATCH
        method = type(self._method)(
            self._method.Parameters(
                features=self._method.parameters.features, resolution="full", patch_size=self.size, spacing=(1, 1, 1),
                steps=2 * per_epoch, batch_size=BATCH, validation_fraction=0,
            )
        )  # fmt: skip
        moments = [time.perf_counter()]
        context = Context(self.device, folder=folder, dataset=load_dataset(folder / "data.json", TASK))
        seen: list[float] = []

        def watched(stage: TrainStage) -> TrainStage:
            plain = stage.loss

            def loss(output, batch):
                seen.append(time.perf_counter())
                return plain(output, batch)

            stage.loss = loss
            return stage

        train(map(watched, method.stages(method.prepare(context), context)), context, {})
        self._synchronize()
        ended = time.perf_counter()
        return [seen[per_epoch] - moments[0], ended - seen[per_epoch]]

    def _monai_epochs(self, files: list[tuple[Path, Path]]) -> list[float]:
        from monai import transforms as t
        from monai.data import DataLoader, Dataset

        both = ("image", "label")
        recipe = t.Compose(
            [
                t.LoadImaged(both),
                t.EnsureChannelFirstd(both),
                t.Orientationd(both, "RAS", labels=None),
                t.Spacingd(both, (1, 1, 1), mode=("bilinear", "nearest")),
                t.NormalizeIntensityd("image", nonzero=True),
                t.RandCropByPosNegLabeld(both, "label", self.size, pos=4, neg=1, num_samples=1),
                t.RandAffined(
                    both, prob=0.7, rotate_range=(0.26,) * 3, scale_range=(0.15,) * 3, mode=("bilinear", "nearest"),
                    padding_mode="border",
                ),
                t.RandAdjustContrastd("image", 0.7),
                t.RandScaleIntensityd("image", 0.15, prob=0.7),
                t.RandGaussianSmoothd("image", (0.2, 0.5), (0.2, 0.5), (0.2, 0.5), prob=0.35),
                t.RandGaussianNoised("image", 0.7, std=0.08),
            ]
        )  # fmt: skip
        items = [{"image": str(image), "label": str(label)} for image, label in files]
        workers = 0 if self.device.type == "cpu" else min(8, available_cores())
        loader = DataLoader(Dataset(items, recipe), batch_size=BATCH, shuffle=True, num_workers=workers)
        network, optimizer = self._network()
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            for batch in loader:
                self._step(network, optimizer, {key: batch[key].as_tensor().to(self.device) for key in both})
            self._synchronize()
            seconds.append(time.perf_counter() - began)
        return seconds

    def _patch_stage(self, network, optimizer, cases, steps: int) -> TrainStage:
        order = EachOnce(len(cases), 0)

        def sample(number: int):
            case, random = cases[order(number)], random_state(0, number)
            return patches.cut(case, patches.random_center(case, random, 0.8), self.size, AUGMENTATION, random)

        return TrainStage(
            "patches",
            {"network": network},
            Samples(BATCH, sample=sample, augment=patches.made),
            loss=self._loss,
            optimisation=Optimisation(optimizer, steps=steps),
        )

    def _timed(self, work) -> float:
        self._synchronize()
        began = time.perf_counter()
        work()
        self._synchronize()
        return (time.perf_counter() - began) / self.steps

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _arrays(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random image of shape SHAPE, and a label map of its darkest and brightest parts."""
    coarse = torch.randn(1, 1, *[n // 8 for n in SHAPE], generator=torch.Generator().manual_seed(number))
    image = torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear")[0, 0].numpy()
    label = (image > 1).astype(np.uint8) + 2 * (image < -1).astype(np.uint8)
    return (200 * image + 500).astype(np.int16), label


def _write_cases(folder: Path, count: int) -> list[tuple[Path, Path]]:
    folder.mkdir()
    files = []
    for number in range(count):
        pair = folder / f"image{number}.nii.gz", folder / f"label{number}.nii.gz"
        for file, array in zip(pair, _arrays(number), strict=True):
            write_image(file, array, np.eye(4))
        files.append(pair)
    return files


def _cached_case(number: int) -> patches.CachedCase:
    image, label = (torch.from_numpy(array)[None] for array in _arrays(number))
    voxels = patches.class_voxels(label, torch.ones_like(label), random_state(number))
    volumes = {
        "image": patches.Volume((image.float() - 500) / 200, linear=True, intensity=True),
        "label": patches.Volume(label, dtype=torch.long),
    }
    return patches.CachedCase(volumes, voxels)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", type=int, default=8)
    return parser


if __name__ == "__main__":
    sys.exit(main())
