"""Trains the released model "brain" for registration and puts it into the module's resources.

    python Testing/Models/train_brain.py LABEL_MAPS [--output RUN] [--minutes 20]

LABEL_MAPS is a folder with ``subject_*.nii.gz``, label maps of real heads without images, and ``labels.csv``, whose
columns value, segment_value and segment_name give the meaning of the values. SynthSeg's training label maps are
suitable (Apache-2.0, https://github.com/BBillot/SynthSeg). The last two subjects are for validation. Images are painted
from the maps in random contrasts, so no image is needed and the model is independent of contrast.

The deformation network is not released: after minutes of training it made the alignment of real heads worse (see the
README for the metrics of the released model).
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "MedDeepExtension"), str(_ROOT / "RegisterModule")]

from MedDeepLib.bundles.card import model_card  # noqa: E402
from MedDeepLib.bundles.layout import CARD, METADATA, WEIGHTS  # noqa: E402
from MedDeepLib.bundles.saving import write_json_file  # noqa: E402
from MedDeepLib.cli.command_line import main as command  # noqa: E402
from MedDeepLib.data.fingerprints import file_hash  # noqa: E402

TARGET = _ROOT / "RegisterModule" / "Resources" / "Models" / "brain"
DESCRIPTION = (
    "Label maps of 20 real heads (SynthSeg's training label maps, Apache-2.0), painted in random contrasts: the model "
    "has seen no real image. For heads and extracted brains of adults in MR of any contrast. Its network finds "
    "structures and by them the matrix; the deformation is found by gradient steps on the pair."
)
LICENCE = """Weights: Apache License 2.0, as the rest of MedDeepExtension.

They were trained on SynthSeg's training label maps (https://github.com/BBillot/SynthSeg, Apache License 2.0); no image
was used. Cite: Billot et al. 2023, Medical Image Analysis, doi 10.1016/j.media.2023.102789.
"""
VALIDATION = 2
SETTINGS = {
    "spacing": 4, "features": "12,24,48,64", "structure_steps": 1400, "steps": 1, "smoothness": 0.1,
    "learning_rate": 0.002, "validate_every": 300, "validation_pairs": 6,
}  # fmt: skip


def write_dataset(folder: Path, path: Path) -> Path:
    """The list of the label maps; only values that stand for a single structure are aligned."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if row["value"] == row["segment_value"] != "0"]
    labels = {row["value"]: row["segment_name"] for row in own}
    files = sorted(folder.glob("subject_*.nii.gz"))
    entries = [{"label": str(file.absolute()), "patient": file.name.removesuffix(".nii.gz")} for file in files]
    content = {
        "name": "Brain label maps",
        "description": DESCRIPTION,
        "channels": ["MR"],
        "labels": labels,
        "training": entries[:-VALIDATION],
        "validation": entries[-VALIDATION:],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return path


def release(model: Path) -> None:
    """Copy a trained model into the module's resources, without its deformation network."""
    import torch

    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(model, TARGET)
    weights = torch.load(TARGET / WEIGHTS, weights_only=True)
    torch.save({"structures": weights["structures"]}, TARGET / WEIGHTS)
    metadata = json.loads((TARGET / METADATA).read_text(encoding="utf-8"))
    own = metadata["meddeep"]
    own["figures"].pop("field", None)
    own["files"] = {WEIGHTS.as_posix(): file_hash(TARGET / WEIGHTS)}
    write_json_file(TARGET / METADATA, metadata)
    (TARGET / CARD).write_text(model_card(metadata, runs_in_monai=False), encoding="utf-8")
    (TARGET / "docs" / "license.txt").write_text(LICENCE, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="LABEL_MAPS")
    parser.add_argument("--output", type=Path, default=Path("brain-training"), help="the run folder (%(default)s)")
    parser.add_argument("--minutes", type=float, default=20, help="of each of the two stages, at most (%(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="processor threads (default: a share)")
    options = parser.parse_args(arguments)
    dataset = write_dataset(options.folder, options.output.with_name(options.output.name + ".json"))
    settings = SETTINGS | {"minutes": options.minutes}
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    code = command(
        "register",
        ["train", "--dataset", str(dataset), "--method", "morph", "--output", str(options.output), "--seed", "1",
         "--threads", str(options.threads), *flags],
    )  # fmt: skip
    if code == 0:
        release(options.output / "model")
        print(f"The model is in {TARGET}")
    return code


if __name__ == "__main__":
    sys.exit(main())
