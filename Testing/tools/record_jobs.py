"""Records jobs of the toy cohort for tests that replay them: events and small files, see Testing/Python/replay.py.

    python Testing/tools/record_jobs.py [NAME ...]

Run it again when the worker's events change; the tests with a real worker detect that.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDINGS = REPOSITORY / "Testing" / "Python" / "recordings"
sys.path[:0] = [str(REPOSITORY / name) for name in ("MedDeepExtension", "SegmentModule", "RegisterModule")]
sys.path[:0] = [str(REPOSITORY / "Testing" / "Python")]

import numpy as np  # noqa: E402
import toy_cases  # noqa: E402
import toy_pairs  # noqa: E402
from MedDeepLib.core import ApplyItem  # noqa: E402
from MedDeepLib.data.slots import Source  # noqa: E402
from MedDeepLib.data.sources.image import write_image  # noqa: E402
from MedDeepLib.jobs import Job, JobFolder  # noqa: E402

KEPT = ("events.jsonl", "result.json", "metrics*.csv", "model/configs/metadata.json")
QUICK = toy_cases.TRAINING | {"steps": 24, "patch_size": [24, 24, 16], "validate_every": 8}


class Recorder:
    """Runs jobs in this process, one after the other, in a temporary folder."""

    def __init__(self, folder: Path, names: list[str]):
        self.folder, self._names = folder, names
        self.dataset = toy_cases.write_toy_dataset(self._subfolder("data"))

    def _subfolder(self, name: str) -> Path:
        (self.folder / name).mkdir(exist_ok=True)
        return self.folder / name

    def record(self, name: str, job: Job, needed: bool = False, stop_in: str = "") -> Path:
        """Run a job and keep its events and files.

        Args:
            needed: also run it if a recording that depends on it was requested.
            stop_in: the phase in which it is asked to stop.
        """
        run = self.folder / name
        if not self._names or name in self._names or (needed and self._needs(name)):
            if stop_in:
                threading.Thread(target=_stop_in, args=(run, stop_in), daemon=True).start()
            toy_cases.run_job(run, job)
        if run.is_dir() and (not self._names or name in self._names):
            self._keep(run, RECORDINGS / name)
        return run

    def _needs(self, name: str) -> bool:
        return any(asked.startswith(name.partition("_")[0]) for asked in self._names)

    def _keep(self, run: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for file in (file for pattern in KEPT for file in sorted(run.glob(pattern))):
            text = file.read_text(encoding="utf-8")
            text = text.replace(str(run), "{folder}").replace(str(self.folder), "{data}")
            kept = target / file.relative_to(run)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(text, encoding="utf-8")
        print(target.relative_to(REPOSITORY), f"{sum(f.stat().st_size for f in target.rglob('*')) / 1024:.0f} KiB")

    def image(self, name: str, array, affine) -> str:
        write_image(self.folder / name, array, affine)
        return str(self.folder / name)


def _stop_in(run: Path, phase: str) -> None:
    while not any(phase in event.get("phase", "") for event in JobFolder(run).events()):
        time.sleep(0.05)
    JobFolder(run).request_stop()


def segmentation(recorder: Recorder) -> None:
    data, training = str(recorder.dataset), toy_cases.TRAINING
    sixty = training | {"steps": 60, "validate_every": 20}
    run = recorder.record("segment_train", Job("segment", "train", "unet", sixty, data, device="cpu"), needed=True)
    model = str(run)
    missing = str(recorder.folder / "missing.json")
    recorder.record("segment_train_missing", Job("segment", "train", "unet", training, missing, device="cpu"))
    recorder.record("segment_train_device", Job("segment", "train", "unet", training, data, device="cuda:9"))
    automatic = training | {"patch_size": [0, 0, 0], "features": [0], "steps": 2, "validate_every": 2}
    recorder.record("segment_plan", Job("segment", "plan", "unet", automatic, data, device="cpu"))
    broken = recorder.folder / "list.json"
    broken.write_text("{}", encoding="utf-8")
    recorder.record("segment_plan_broken", Job("segment", "plan", "unet", training, str(broken), device="cpu"))
    ten = {"dataset": data, "device": "cpu", "folds": "2"}
    recorder.record("segment_crossvalidate", Job("segment", "crossvalidate", "unet", QUICK, **ten))
    no_sites = ten | {"folds": "site"}
    recorder.record("segment_crossvalidate_sites", Job("segment", "crossvalidate", "unet", QUICK, **no_sites))
    recorder.record("segment_evaluate", Job("segment", "evaluate", dataset=data, model=model, device="cpu"))
    recorder.record("segment_evaluate_sites", _with_sites(recorder, model))
    recorder.record("segment_evaluate_trained_on", _trained_on(recorder, model))
    for name, device, damaged in (("segment_apply", "cpu", False), ("segment_apply_nan", "cpu", True)):
        array = toy_cases.toy_image(9)[0]
        if damaged:
            array[3, 3, 3] = float("nan")
        file = recorder.image("input0.nii", array, toy_cases.toy_affine())
        output = str(recorder.folder / "output.seg.nrrd")
        item = ApplyItem({"image": _images(file)}, {"segmentation": output})
        recorder.record(name, Job("segment", "apply", model=model, items=(item,), device=device))
    recorder.record("segment_apply_device", Job("segment", "apply", model=model, items=(item,), device="cuda:9"))


def _with_sites(recorder: Recorder, model: str) -> Job:
    content = json.loads(recorder.dataset.read_text(encoding="utf-8"))
    unseen = [*content["validation"], *content["test"]]
    sites = ("Basel", "Bern")
    test = [case | {"patient": f"new {site}", "site": site} for case, site in zip(unseen, sites, strict=True)]
    file = recorder.dataset.with_name("sites.json")
    file.write_text(json.dumps(content | {"training": [], "validation": [], "test": test}), encoding="utf-8")
    return Job("segment", "evaluate", dataset=str(file), model=model, device="cpu")


def _trained_on(recorder: Recorder, model: str) -> Job:
    case = {"image": "image0.nii.gz", "label": "label0.nii.gz", "patient": "P0"}
    content = json.loads(recorder.dataset.read_text(encoding="utf-8"))
    file = recorder.dataset.with_name("trained_on.json")
    file.write_text(json.dumps(content | {"training": [], "validation": [], "test": [case]}), encoding="utf-8")
    return Job("segment", "evaluate", dataset=str(file), model=model, device="cpu")


def _images(*files: str) -> Source:
    return Source("image", tuple(map(Path, files)))


def registration(recorder: Recorder) -> None:
    def image(name: str, grid: str, to_body=lambda points: points) -> str:
        array = (1000 * toy_pairs.draw(grid, to_body)).astype("float32")
        return recorder.image(name, array, toy_pairs.GRIDS[grid][0])

    def apply(name: str, model: str, fixed: str, moving: str, maps: tuple = (), stop_in: str = "", **options) -> None:
        outputs = {"transform": str(recorder.folder / "transform.h5")}
        outputs |= {key: str(recorder.folder / f"{key}.nrrd") for key in maps}
        item = ApplyItem({"fixed": _images(fixed), "moving": _images(moving)}, outputs)
        job = Job("register", "apply", "", options, model=model, items=(item,), device="cpu")
        recorder.record(name, job, stop_in=stop_in)

    fixed, moving = image("input0.nii", "plain"), image("input1.nii", "plain", toy_pairs.wave(6.0))
    rigid = {"transform": "rigid", "similarity": "correlation"}
    maps = ("volume", "checkerboard", "difference", "jacobian")
    apply("register_apply", "global", fixed, moving, maps, **rigid)
    apply("register_apply_stopped", "morph", fixed, moving, stop_in="Deforming", steps=20_000, matrix_steps=0)
    flat = np.full(toy_pairs.GRIDS["plain"][1], 7, np.float32)
    moving = recorder.image("input1.nii", flat, toy_pairs.GRIDS["plain"][0])
    apply("register_apply_flat", "global", fixed, moving, **rigid)


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder), names)
        segmentation(recorder)
        registration(recorder)


if __name__ == "__main__":
    main(sys.argv[1:])
