"""Digest the weights and predictions of every installed method after a short training, to compare two source trees.

    python Testing/tools/weights_digest.py --tree . --output new.json --compare old.json

The script makes small datasets from a fixed seed, trains for 20 steps and applies each model through the command
lines only, on the CPU with one thread. It imports nothing from the project, so the same file runs on any version.
Digests are comparable only between runs on one machine with the same packages: another CPU may round differently.
Exit codes: 0 done (and equal), 1 the digests differ or a variant failed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

SEED = 20
STEPS = 20
SHAPE = (32, 28, 20)
SPACING = (1.1, 1.3, 2.2)
SITES = ("Basel", "Bern")

SEGMENT = {
    "batch_size": "2", "patch_size": "24,24,12", "spacing": "1.3,1.3,2.2", "validate_every": "10",
    "validation_cases": "2", "learning_rate": "0.01", "memory": "1",
}  # fmt: skip
UNET = SEGMENT | {"features": "4,8,8"}
FLAT = UNET | {"dimensions": "2", "patch_size": "24,24,1"}
REGISTER = {"spacing": "3", "validate_every": "10", "validation_pairs": "2"}
MORPH = REGISTER | {"features": "4,8,8", "points": "8", "point_steps": str(STEPS), "structure_steps": str(STEPS)}

# Starting Python costs more than these trainings: one variant of each kind of network is applied, all are trained.
APPLIED = {"unet-3d", "unet-3d-two-channels", "unet-2d", "segresnet", "morph-images", "morph-painted", "global-images"}

# Each variant: task, dataset, method, parameters beside the number of steps.
VARIANTS = {
    "unet-3d": ("segment", "one", "unet", UNET),
    "unet-3d-two-channels": ("segment", "two", "unet", UNET | {"flips": "all", "resolution": "full"}),
    "unet-3d-planned": ("segment", "one", "unet", {"memory": "1", "validate_every": "10"}),
    "unet-2d": ("segment", "one", "unet", FLAT),
    "unet-2d-separation": ("segment", "one", "unet", FLAT | {"separation_weight": "10", "separation_sigma": "3"}),
    "unet-3d-supervision": (
        "segment", "one", "unet",
        UNET | {"deep_supervision": "true", "resolution": "full", "normalization": "window", "window": "0,200"},
    ),
    "unet-3d-accumulation": ("segment", "two", "unet", UNET | {"accumulation": "2", "schedule": "polynomial"}),
    "unet-3d-average": ("segment", "one", "unet", UNET | {"weight_average": "0.9", "dropout": "0.1"}),
    "unet-3d-plateau": (
        "segment", "one", "unet",
        UNET | {"plateau_patience": "1", "schedule": "constant", "validate_every": "4", "loss": "dice"},
    ),
    "segresnet": ("segment", "two", "segresnet", SEGMENT | {"filters": "8", "blocks": "1,1,1"}),
    "morph-images": ("register", "pool", "morph", MORPH),
    "morph-images-atlas": ("register", "atlas", "morph", MORPH | {"regularization": "bending", "point_steps": "0"}),
    "morph-painted": ("register", "labels", "morph", MORPH),
    "global-images": ("register", "pool", "global", REGISTER | {"points": "8"}),
    "global-painted": ("register", "labels", "global", REGISTER | {"features": "4,8,8", "points": "8"}),
}  # fmt: skip


def main() -> int:
    options = _options()
    started = time.monotonic()
    tree = options.tree.resolve()
    python = options.python or next((p for p in [tree / ".venv/bin/python"] if p.exists()), Path(sys.executable))
    chosen = {name: variant for name, variant in VARIANTS.items() if options.only in name}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        datasets = make_datasets(folder / "data")
        with concurrent.futures.ThreadPoolExecutor(options.parallel) as pool:
            jobs = {
                name: pool.submit(digest_variant, tree, python, folder / name, datasets, *variant, name in APPLIED)
                for name, variant in chosen.items()
            }
            digests = {}
            for name, job in jobs.items():
                digests[name] = job.result()
                if options.output:  # finished variants are kept if the run is interrupted
                    options.output.write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n", encoding="utf-8")
                print(f"{name}: {digests[name].get('error') or digests[name]['weights'][:16]}", file=sys.stderr)
    if not options.output:
        print(json.dumps(digests, indent=1, sort_keys=True))
    print(f"{len(digests)} variants in {time.monotonic() - started:.0f} s", file=sys.stderr)
    problems = [f"{name}: {digest['error']}" for name, digest in digests.items() if "error" in digest]
    if options.compare:
        other = json.loads(options.compare.read_text(encoding="utf-8"))
        problems += differences({name: value for name, value in other.items() if options.only in name}, digests)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def differences(old: dict, new: dict) -> list[str]:
    """One line for each missing variant, and for each value that differs."""
    unpaired = sorted(old.keys() ^ new.keys())
    lines = [f"{name}: only in the {'old' if name in old else 'new'} digests" for name in unpaired]
    for name in sorted(old.keys() & new.keys()):
        for key in sorted((old[name].keys() | new[name].keys()) - {"tensors", "error"}):
            if old[name].get(key) != new[name].get(key):
                lines.append(f"{name}: {key} differ: {str(old[name].get(key))[:12]} and {str(new[name].get(key))[:12]}")
        before, after = old[name].get("tensors", {}), new[name].get("tensors", {})
        changed = [tensor for tensor in sorted(before.keys() | after.keys()) if before.get(tensor) != after.get(tensor)]
        lines += [f"{name}:   tensor {tensor}" for tensor in changed[:5]]
        if len(changed) > 5:
            lines.append(f"{name}:   and {len(changed) - 5} more of {len(before)} tensors")
    return lines


def digest_variant(tree, python, folder, datasets, task, dataset, method, parameters, applied) -> dict:
    """Train, and apply where ``applied``, in subprocesses; the digests, or the error of the command that failed."""
    folder.mkdir()
    script = tree / f"{task.capitalize()}Module" / "Scripts" / f"{task}.py"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"MEDDEEP_STATE": str(folder / "state"), "MEDDEEP_RUNS": str(folder / "runs")}
    environment |= {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    resources = ["--device", "cpu", "--threads", "1"]

    def call(*arguments) -> None:
        command = [str(python), str(script), *map(str, arguments), *resources]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=600)
        if done.returncode:
            raise RuntimeError(f"'{arguments[0]}' ended with {done.returncode}: {(done.stdout + done.stderr)[-600:]}")

    run = folder / "run"
    settings = [part for item in ({"steps": STEPS} | parameters).items() for part in ("--set", "{}={}".format(*item))]
    result = {}
    try:
        call("train", "--dataset", datasets[dataset], "--method", method, "--output", run, "--seed", SEED, *settings)
        result |= weights(run)
        if not applied:
            return result
        data = datasets["one"].parent
        if task == "segment":
            images = [data / "p0_t1.nii.gz", data / "p0_t2.nii.gz"][: 2 if dataset == "two" else 1]
            call("apply", "--model", run, "--input", *images, "--output", folder / "out.seg.nrrd")
            result["prediction"] = voxels(folder / "out.seg.nrrd")
        else:
            pair = ["--fixed", data / "p0_t1.nii.gz", "--moving", data / "p5_t1.nii.gz"]
            out = ["--output-transform", folder / "out.h5", "--output-volume", folder / "out.nrrd"]
            steps = ["--set", "matrix_steps=3"] + (["--set", "steps=3"] if method == "morph" else [])
            call("apply", "--model", run, *pair, *out, *steps)
            result |= {"transform": transform(folder / "out.h5"), "prediction": voxels(folder / "out.nrrd")}
    except (RuntimeError, subprocess.TimeoutExpired, OSError) as error:
        result["error"] = str(error)
    return result


def weights(run: Path) -> dict:
    """The digest of each tensor of the run's model, by its path in the nested state, and one of them all."""
    import torch

    files = sorted(run.rglob("models/model.pt"))
    if not files:
        raise RuntimeError(f"the training left no models/model.pt in {run.name}")
    tensors = {}

    def collect(value, where: str) -> None:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous()
            data = value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
            tensors[where] = _sha(str(value.dtype), str(tuple(value.shape)), data)
        elif isinstance(value, dict):
            for key in value:
                collect(value[key], f"{where}.{key}" if where else str(key))
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                collect(item, f"{where}.{number}")

    for number, file in enumerate(files):
        collect(torch.load(file, map_location="cpu", weights_only=True), str(number) if number else "")
    return {"weights": _sha(*(f"{name}={tensors[name]}" for name in sorted(tensors))), "tensors": tensors}


def voxels(path: Path) -> str:
    import nrrd

    array, header = nrrd.read(str(path))
    geometry = np.array([row for row in header["space directions"] if np.isfinite(row).all()], float)
    return _sha(str(array.dtype), str(array.shape), array.tobytes(), geometry.tobytes())


def transform(path: Path) -> str:
    """The digest of the types, parameters and fixed parameters of the transforms in an ITK file."""
    import itk

    parts = []
    for item in itk.transformread(str(path)):
        parts.append(item.GetTransformTypeAsString())
        for values in (item.GetParameters(), item.GetFixedParameters()):
            parts.append(np.array(list(values), float).tobytes())
    return _sha(*parts)


def make_datasets(folder: Path) -> dict[str, Path]:
    """Six patients of two sites, each rotated and shifted on its own grid: two structures, two channels."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(SEED)
    for number in range(6):
        shape = tuple(n + int(random.integers(-2, 3)) for n in SHAPE)
        affine = _oblique(random, shape)
        points = _points(shape, affine)
        middle = random.uniform(-2, 2, 3)
        labels = np.zeros(shape, np.uint8)
        for value, place, radii in ((1, (-6, 1, 0), (6, 7, 9)), (2, (7, -2, 2), (5, 8, 7))):
            inside = (((points - middle - place) / (np.array(radii) * random.uniform(0.9, 1.1, 3))) ** 2).sum(-1) < 1
            labels[inside & (labels == 0)] = value
        head = ((points - middle) / (16, 16, 18)) ** 2
        head = head.sum(-1) < 1
        for channel, values in (("t1", (10, 60, 140, 190)), ("t2", (5, 120, 40, 170))):
            image = np.full(shape, values[0], np.float32)
            image[head] = values[1]
            for value in (1, 2):
                image[labels == value] = values[value + 1]
            image += random.normal(0, 6, shape).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(image, affine), folder / f"p{number}_{channel}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, affine), folder / f"p{number}_label.nii.gz")

    def entry(number: int, images) -> dict:
        case = {"label": f"p{number}_label.nii.gz", "patient": f"patient {number}", "site": SITES[number % 2]}
        return ({"image": images} if images else {}) | case

    def write(name: str, channels: list[str], more: dict | None = None) -> Path:
        def images(number: int):
            files = [f"p{number}_{channel.lower()}.nii.gz" for channel in channels]
            return files[0] if len(files) == 1 else files

        content = {
            "name": name, "channels": channels or ["T1"], "labels": {"1": "left body", "2": "right body"},
            "training": [entry(number, images(number) if channels else None) for number in range(1, 5)],
            "test": [entry(number, images(number) if channels else None) for number in (0, 5)],
        }  # fmt: skip
        path = folder / f"{name}.json"
        path.write_text(json.dumps(content | (more or {})), encoding="utf-8")
        return path

    template = {"image": "p0_t1.nii.gz", "label": "p0_label.nii.gz", "patient": "atlas"}
    atlas = {"atlas": template, "test": [entry(5, "p5_t1.nii.gz")]}
    return {
        "one": write("one", ["T1"]),
        "two": write("two", ["T1", "T2"]),
        "pool": write("pool", ["T1"]),
        "atlas": write("atlas", ["T1"], atlas),
        "labels": write("labels", []),
    }


def _oblique(random, shape) -> np.ndarray:
    """RAS of the voxels, in mm: anisotropic, rotated by up to 12 degrees about each axis, the middle near 0."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(random.uniform(-12, 12, 3))):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[one, one] = about[other, other] = np.cos(angle)
        about[one, other], about[other, one] = -np.sin(angle), np.sin(angle)
        turn = turn @ about
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(SPACING) @ np.diag((-1, 1, 1))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + random.uniform(-1, 1, 3)
    return affine


def _points(shape, affine) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def _sha(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tree", type=Path, required=True, help="the source tree")
    parser.add_argument("--output", type=Path, metavar="JSON", help="where to write the digests (default: print them)")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="digests that must be the same")
    parser.add_argument("--python", type=Path, help="the interpreter (default: the tree's .venv, else this one)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only variants whose name contains this")
    parser.add_argument("--parallel", type=int, default=2, metavar="NUMBER", help="variants at a time (default 2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
