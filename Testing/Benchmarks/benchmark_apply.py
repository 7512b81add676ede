"""Applying the demonstration's model to the ICBM152 brain (197x233x189): time, agreement and memory, as ratios.

    make demo benchmark

Three variants in turn, several times, in one process: our prediction; the bare network on the same tiles; MONAI's
``sliding_window_inference`` over the whole volume at its usual overlap of a quarter. Labels of both predictions are
compared with the reference by mean Dice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in the worker; before torch is loaded
_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from MedDeepLib.bundles.model import open_model  # noqa: E402
from MedDeepLib.core.registry import task  # noqa: E402
from MedDeepLib.data.dataset import load_dataset  # noqa: E402
from MedDeepLib.data.geometry import to_canonical  # noqa: E402
from MedDeepLib.data.preparation import Plan, prepare, stack_channels  # noqa: E402
from MedDeepLib.data.sources.image import read_image  # noqa: E402
from MedDeepLib.devices import torch_device  # noqa: E402
from MedDeepLib.evaluation.overlap import mean_dice  # noqa: E402
from MedDeepLib.inference.sinks import Labels  # noqa: E402
from MedDeepLib.inference.sliding import TilingOptions, apply_network, cut_tile  # noqa: E402
from MedDeepLib.inference.tiles import foreground_hull, tiles  # noqa: E402
from monai.inferers import sliding_window_inference  # noqa: E402
from SegmentModuleLib.worker.cases import read_reference  # noqa: E402
from verdicts import row  # noqa: E402

OVERLAP = 0.25
MOST_OVER_BARE = 1.15
MOST_OVER_MONAI = 0.6
MOST_DICE_DIFFERENCE = 0.005
MOST_MEMORY = 3.0


def main() -> int:
    options = _parser().parse_args()
    if not (options.demo / "run" / "model").is_dir():
        print(f"Error: {options.demo} holds no trained model: run 'make demo' first.", file=sys.stderr)
        return 2
    device, sentence = torch_device(options.device)
    dataset = load_dataset(options.demo / "data" / "cases" / "dataset.json", task("segment"))
    model = open_model(options.demo / "run", "segment")
    method = model.make_method()
    case = dataset.test[0]
    image = stack_channels([read_image(path) for path in case.files("image")])
    plan = Plan.from_dict(model.metadata["plan"])
    prepared = prepare(image, plan)
    network = method.network(len(model.channels), len(model.classes) + 1)
    network.load_state_dict(model.load_weights()["network"])
    network = network.to(device).eval()
    tiling = TilingOptions(plan.patch_size, OVERLAP)
    shape = tuple(prepared.image.shape[1:])
    foreground = tiles(shape, plan.patch_size, OVERLAP, foreground_hull(prepared.image))
    cut = [cut_tile(prepared.image, tile.start, plan.patch_size)[None].to(device) for tile in foreground]

    def ours():
        return apply_network(network, prepared, tiling, device, Labels())

    def bare():
        return [network(tile) for tile in cut]

    def monai():
        whole = prepared.image[None].to(device)
        return sliding_window_inference(whole, plan.patch_size, 1, network, overlap=OVERLAP)

    with torch.inference_mode():
        seconds = _timed({"ours": ours, "bare": bare, "monai": monai}, options.repeats, device)
        labels, scores = ours(), monai()
    # Both predictions have the network's axis order.
    reference, _ = to_canonical(read_reference(case, image, model.classes), image.affine)
    values = range(1, len(model.classes) + 1)
    dice_ours = mean_dice(labels, reference, values)
    dice_monai = mean_dice(native_labels(scores.cpu(), prepared), reference, values)
    memory = _memory_ratio(options.demo, case.files("image")[0])

    print(f"{sentence} {torch.get_num_threads()} threads, {options.repeats} repeats, medians.")
    print(f"{case.name}: {'x'.join(map(str, image.shape))}, tiles of {plan.patch_size}: {len(foreground)} hold body")
    for name, value in seconds.items():
        print(f"  {name:6} {value:8.3f} s")
    verdicts = [
        row("ours / bare network on the same tiles", seconds["ours"] / seconds["bare"], MOST_OVER_BARE),
        row("ours / MONAI sliding window, whole volume", seconds["ours"] / seconds["monai"], MOST_OVER_MONAI),
        row(f"Dice lost: {dice_monai:.4f} (MONAI) - {dice_ours:.4f}", dice_monai - dice_ours, MOST_DICE_DIFFERENCE),
        row("peak memory of an apply / float32 volume", memory, MOST_MEMORY),
    ]
    return 0 if all(verdicts) else 1


def _timed(ways: dict, repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each variant; they take turns, so that a change of the computer's load affects all alike."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first turn is a warm-up
                taken[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in taken.items()}


def native_labels(scores: torch.Tensor, prepared) -> np.ndarray:
    """MONAI's scores (1, C, I, J, K) as labels on the case's own grid, by trilinear interpolation in one piece."""
    axes = [
        (torch.arange(n) * s + o) * 2 / (m - 1) - 1
        for n, s, o, m in zip(
            prepared.native_shape, prepared.scale, prepared.offset, prepared.image.shape[1:], strict=True
        )
    ]
    grid = torch.stack(torch.meshgrid(*[axis.float() for axis in axes], indexing="ij")[::-1], dim=-1)[None]
    probabilities = torch.nn.functional.grid_sample(
        scores.float().softmax(1), grid, "bilinear", "border", align_corners=True
    )
    return probabilities[0].argmax(0).to(torch.uint8).numpy()


_MEMORY_PROBE = """
import sys, threading, time
from dataclasses import replace
import numpy as np, psutil, torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.data.sources.image import read_image
from MedDeepLib.core import Context

process, peak, running = psutil.Process(), 0, True
def sample():
    global peak
    while running:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.001)
threading.Thread(target=sample, daemon=True).start()

model = open_model(sys.argv[1], "segment")
method = model.make_method()
context = Context(torch.device("cpu"))
predictor = method.predictor(model, context, method.ApplyParameters())
def apply(crop):
    image = read_image(sys.argv[2])
    voxels = int(np.prod(image.shape))
    if crop:
        part = image.array[:, 60:120, 80:140, 60:120]
        image = replace(image, array=part.copy())
    global peak
    peak = 0
    predictor.predict([image], context)
    return voxels

# First a crop of little more than a tile: what it takes is the network's own, with torch's and ITK's code.
apply(crop=True)
own = peak
voxels = apply(crop=False)
running = False
print((peak - own) / (4 * voxels))
"""


def _memory_ratio(demo: Path, image: Path) -> float:
    """Growth of the peak memory when the model is applied to the image, in units of the float32 image."""
    command = [sys.executable, "-c", _MEMORY_PROBE, str(demo / "run"), str(image)]
    path = os.pathsep.join([str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule")])
    environment = dict(os.environ, PYTHONPATH=path)
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return float(output.split()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=_ROOT / "demo-output", help="what 'make demo' has made")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
