"""Datasets for classification, written from the tables and matrices that ``fetch.py`` fetches.

    python Testing/Data/classify_cohorts.py FOLDER
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

_HERE = Path(__file__).resolve().parent
for _folder in (_HERE.parent, _HERE.parents[1] / "MedDeepExtension"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))

# The folders above must be known first.
from Data.fetch import DEFAULT_CACHE, fetch  # noqa: E402

_REGIONS = 332


def write_image_quality(folder: Path, cache: Path = DEFAULT_CACHE) -> dict[str, Path]:
    """Image quality of T1 scans: 1,101 of ABIDE from 17 sites, 265 of ds030 from 2; accepted or excluded by a rater.

    Returns:
        Lists by name: "abide" for cross-validation, and "ds030" with ABIDE for training and ds030 as the test.
    """
    source = fetch("mriqc-learn", cache)
    columns, abide = _rows(source / "abide.tsv", "rater_3", "abide")
    others, ds030 = _rows(source / "ds030.tsv", "rater_1", "ds030")
    shared = [name for name in columns if name in others]
    files = {}
    for name, rows in (("abide", abide), ("ds030", [row | {"split": "training"} for row in abide] + ds030)):
        files[name] = folder / f"{name}.csv"
        with files[name].open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["split", "patient", "site", "class", *shared], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(row | {"split": row.get("split", "training")} for row in rows)
    return files


def _rows(path: Path, rater: str, cohort: str) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, delimiter="\t")
        names = list(reader.fieldnames or ())
        rows = list(reader)
    features = names[names.index("cjv") :]
    split = "test" if cohort == "ds030" else "training"
    return features, [
        {name: row[name] for name in features}
        | {
            "split": split,
            "patient": f"{cohort} {row['subject_id']}",
            "site": row["site"],
            "class": "excluded" if float(row[rater]) < 0 else "accepted",
        }
        for row in rows
    ]


def write_mice(folder: Path, answer: str, cache: Path = DEFAULT_CACHE) -> Path:
    """Diffusion connectomes of 32 mice with 332 regions each: the list to tell their "genotype" or their "sex"."""
    source = fetch("graspologic-mice", cache)
    with (source / "participants.csv").open(newline="", encoding="utf-8") as file:
        mice = list(csv.DictReader(file))
    cases = []
    for mouse in mice:
        name = mouse["participant_id"]
        matrix = np.zeros((_REGIONS, _REGIONS), np.float32)
        for line in (source / f"{name}.edgelist").read_text(encoding="utf-8").splitlines():
            first, second, weight = line.split()
            matrix[int(first), int(second)] = matrix[int(second), int(first)] = float(weight)
        np.save(folder / f"{name}.npy", matrix)
        cases.append({"matrix": f"{name}.npy", "class": mouse[answer], "patient": name})
    list_file = folder / f"mice_{answer}.json"
    list_file.write_text(json.dumps({"name": f"mice by {answer}", "training": cases}), encoding="utf-8")
    return list_file


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for written in (*write_image_quality(target).values(), write_mice(target, "genotype"), write_mice(target, "sex")):
        print(written)
