"""OpenVINO against torch on the CPU, on the same tiles: time, memory and agreement, as ratios.

    make benchmark

A 3D U-Net on tiles of 96 voxels and a 2D U-Net on slices of 256 pixels, with random weights; torch and OpenVINO take
turns in one process with equal numbers of threads. Then, with the 3D network, what the first application costs before
it gains (converting, comparing), what a later one costs (reading what was kept), and the peak memory of each in a
process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the worker has it; before torch is loaded
_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "SegmentModule")]

import torch  # noqa: E402
from MedDeepLib.devices.threads import available_cores, budget, threads_from_environment  # noqa: E402
from MedDeepLib.inference.backends import openvino_runtime  # noqa: E402
from MedDeepLib.inference.backends.backend import Backend  # noqa: E402
from MedDeepLib.inference.backends.converted import Converted  # noqa: E402
from MedDeepLib.training.accounting import peak_resident_bytes  # noqa: E402
from monai.networks.nets import DynUNet  # noqa: E402
from verdicts import load, row  # noqa: E402

CPU = torch.device("cpu")
SHAPES = {"3D": (1, 1, 96, 96, 96), "2D": (1, 1, 256, 256)}
# With AVX2, torch itself reaches a third of the processor's peak: OpenVINO, at two thirds, is not three times faster.
_WIDE = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
MOST_OVER_TORCH = {"3D": 0.4 if _WIDE else 0.6, "2D": 0.8}
MOST_OVER_TORCH_MEMORY = 1.0
LEAST_EQUAL = 0.999


def network(kind: str) -> torch.nn.Module:
    """The network that is measured, with the same random weights every time."""
    torch.manual_seed(0)
    dimensions = len(SHAPES[kind]) - 2
    return DynUNet(
        dimensions, 1, 3, [3] * 4, [1, 2, 2, 2], [2, 2, 2], filters=[16, 32, 64, 128], norm_name="instance"
    ).eval()


def main() -> int:
    options = _parser().parse_args()
    if options.probe:
        return _probe(options.probe, options.folder)
    if not openvino_runtime.installed_version():
        print("The package openvino is not installed: there is nothing to compare.")
        return 0
    torch.set_num_threads(threads_from_environment() or budget(available_cores()))
    print(f"OpenVINO {openvino_runtime.installed_version()}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads, {load()}")  # fmt: skip
    good = [_speed(kind, options.repeats) for kind in SHAPES]
    with tempfile.TemporaryDirectory() as folder:
        good.append(_start(Path(folder)))
        good.append(_memory(folder))
    return 0 if all(good) else 1


def _speed(kind: str, repeats: int) -> bool:
    plain, image = network(kind), torch.randn(SHAPES[kind])
    backend = Backend(plain, "openvino", CPU)
    seconds: dict[str, list[float]] = {"torch": [], "openvino": []}
    processor: dict[str, list[float]] = {"torch": [], "openvino": []}
    with torch.inference_mode():
        expected, found = plain(image), backend(image)
        for _ in range(repeats):
            for name, way in (("torch", plain), ("openvino", backend)):
                began, busy = time.perf_counter(), time.process_time()
                way(image)
                seconds[name].append(time.perf_counter() - began)
                processor[name].append(time.process_time() - busy)
    equal = (expected.argmax(1) == found.argmax(1)).sum().item()
    count = expected[:, 0].numel()
    span = float(expected.max() - expected.min())
    for name, values in seconds.items():
        print(f"  {kind} {name:9} {median(values):8.3f} s, {median(processor[name]):8.3f} processor seconds")
    print(f"  {kind}: {equal} of {count} labels are equal")
    row(f"{kind}: processor seconds, OpenVINO / torch", median(processor["openvino"]) / median(processor["torch"]))
    return all((
        row(f"{kind}: OpenVINO / torch", median(seconds["openvino"]) / median(seconds["torch"]), MOST_OVER_TORCH[kind]),
        row(f"{kind}: share of equal labels", equal / count, least=LEAST_EQUAL),
        row(f"{kind}: largest difference / range", float((expected - found).abs().max()) / span, 1e-3),
    ))  # fmt: skip


def _start(folder: Path) -> bool:
    plain, image = network("3D"), torch.randn(SHAPES["3D"])
    seconds = {}
    with torch.inference_mode():
        plain(image)
        for name in ("converted", "kept"):
            backend = Backend(plain, "openvino", CPU, Converted(folder))
            began = time.perf_counter()
            backend(image)
            seconds[name] = time.perf_counter() - began
        began = time.perf_counter()
        plain(image)
        one = time.perf_counter() - began
    row("first tile, converting and comparing / a tile by torch", seconds["converted"] / one)
    return row("first tile, with what was kept / a tile by torch", seconds["kept"] / one)


def _memory(folder: str) -> bool:
    peaks = {}
    for probe in ("nothing", "torch", "converting", "openvino"):
        command = [sys.executable, __file__, "--probe", probe, "--folder", folder if probe == "openvino" else ""]
        peaks[probe] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    own = {name: peak - peaks["nothing"] for name, peak in peaks.items()}
    print("  peak memory: " + ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in peaks.items()))
    row("memory while converting / of torch", own["converting"] / own["torch"])
    return row("memory of OpenVINO / of torch", own["openvino"] / own["torch"], MOST_OVER_TORCH_MEMORY)


def _probe(kind: str, folder: str) -> int:
    """Print the peak memory of this process after three tiles."""
    plain, image = network("3D"), torch.randn(SHAPES["3D"])
    kept = Converted(Path(folder)) if folder else None
    backend = Backend(plain, "torch" if kind == "torch" else "openvino", CPU, kept)
    with torch.inference_mode():
        for _ in range(3 if kind != "nothing" else 0):
            backend(image)
    print(peak_resident_bytes())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="ignored: it is the CPU that is measured")
    parser.add_argument("--probe", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
