"""Where the time of applying a model goes: seconds by phase for each task, in a new worker and in a warm one.

    make benchmark

Segmentation with the demonstration's model where there is one (otherwise a few steps of training on a phantom), and
registration of a pair of phantoms with the released model. ``start`` lasts from the request until the device is there,
imports included; ``load`` is reading the model; ``network`` includes tiling, and at the first time converting it for
OpenVINO where that is installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_MODULES = ("MedDeepExtension", "SegmentModule", "RegisterModule")
sys.path[:0] = [str(_ROOT / name) for name in (*_MODULES, "Testing/Python")]

from benchmark_warm import _model_and_data  # noqa: E402
from MedDeepLib.core import ApplyItem  # noqa: E402
from MedDeepLib.core.registry import task  # noqa: E402
from MedDeepLib.data.dataset import load_dataset  # noqa: E402
from MedDeepLib.data.slots import Source  # noqa: E402
from MedDeepLib.jobs import Job, JobFolder, State, WarmWorkers  # noqa: E402
from verdicts import load, row  # noqa: E402


def main() -> int:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="meddeep-benchmark-") as name:
        folder = Path(name)
        run, dataset = _model_and_data(options.demo, folder)
        image = load_dataset(dataset, task("segment")).test[0].files("image")[0]
        other = next(case.files("image")[0] for case in load_dataset(dataset, task("segment")).training)
        requests = {
            "segment": (str(run), {"image": (image,)}, "segmentation", ".seg.nrrd"),
            "register": ("brain", {"fixed": (image,), "moving": (other,)}, "transform", ".h5"),
        }
        print(f"On {options.device}; {load()}")
        for number, (name, request) in enumerate(requests.items()):
            found = _apply(name, *request, options.device, folder / str(number))
            _print(name, found)
    return 0


def _apply(name: str, model: str, inputs: dict, output: str, ending: str, device: str, folder: Path) -> dict[str, dict]:
    """Seconds by phase of a first job and of the next one in the same worker."""
    folder.mkdir()
    workers, found = WarmWorkers(), {}
    for kind in ("first", "warm"):
        sources = {slot: Source("image", tuple(map(Path, files))) for slot, files in inputs.items()}
        item = ApplyItem(sources, {output: str(folder / f"{kind}{ending}")})
        parameters = {"center": True} if name == "register" else {}
        job = Job(name, "apply", parameters=parameters, model=model, items=(item,), device=device)
        running = workers.submit(JobFolder.create(folder / kind, job))
        running.wait()
        if running.state is not State.DONE:
            raise SystemExit(running.folder.log_file.read_text(encoding="utf-8"))
        found[kind] = running.folder.result()
    workers.close()
    return found


def _print(name: str, found: dict[str, dict]) -> None:
    print(f"{name}: computed with {found['warm'].get('computed_with', 'torch')}")
    phases = {kind: result["usage"]["phases"] for kind, result in found.items()}
    print(f"  {'':14}{'first':>10}{'warm':>10}")
    for phase in dict.fromkeys([*phases["first"], *phases["warm"]]):
        print(f"  {phase:14}" + "".join(f"{phases[kind].get(phase, 0.0):8.2f} s" for kind in phases))
    whole = {kind: sum(values.values()) for kind, values in phases.items()}
    print(f"  {'all':14}" + "".join(f"{seconds:8.2f} s" for seconds in whole.values()))
    row(f"{name}: share of the network, warm", phases["warm"].get("network", 0.0) / whole["warm"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=_ROOT / "demo-output", help="what 'make demo' has made")
    parser.add_argument("--device", default="cpu")
    return parser


if __name__ == "__main__":
    sys.exit(main())
