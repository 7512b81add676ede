"""The data in a manifest: fingerprints of every file and value of the cases, and of their shared data.

A case is ``{"inputs": {slot: [SHA-256, ...]}, "targets": {slot: [SHA-256, ...] or a value}, "patients": [rank, ...]}``.
Manifests of version 1 held images, label and patient only: ``{"images": [...], "label": ..., "patient": rank}``; what
they lack is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from MedDeepLib.core import Context
from MedDeepLib.data.dataset import Dataset
from MedDeepLib.data.fingerprints import fingerprint, value_fingerprint
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.errors import Stopped, UserError

_SPLITS = ("training", "validation")


def data_content(context: Context) -> dict[str, Any]:
    """The training and validation cases in order, and their shared data; patients are identified by numbers.

    Raises Stopped when the user asked to stop.
    """
    dataset = context.dataset
    cases = [*dataset.training, *dataset.validation]
    shared = dict(dataset.shared)
    ranks = _ranks(patient for case in cases for patient in case.patients)

    def entry(case: Case) -> dict[str, Any]:
        if context.stop_requested():
            raise Stopped
        return {"inputs": _sources(case.inputs), "targets": _sources(case.targets)}

    entries = []
    with ThreadPoolExecutor(2) as pool:
        for one in pool.map(entry, [*cases, *shared.values()]):
            entries.append(one)
            context.report("progress", step=len(entries), total=len(cases) + len(shared), remaining=None)
    listed = [
        entry | {"patients": [ranks[patient] for patient in case.patients]}
        for entry, case in zip(entries, cases, strict=False)
    ]
    count = len(dataset.training)
    content: dict[str, Any] = {"training": listed[:count], "validation": listed[count:]}
    if shared:
        content["shared"] = dict(zip(shared, entries[len(cases) :], strict=True))
    return content


def check_data(earlier: Mapping[str, Any], now: Mapping[str, Any], dataset: Dataset, whose: str) -> None:
    """Compare the data of a manifest, of any version, with the current data.

    Args:
        whose: ends the sentence "... is not the one that": "this training began with".

    Raises UserError that names the first case that differs, and how.
    """
    for split in _SPLITS:
        before, after, cases = earlier[split], now[split], dataset.cases(split)
        if len(before) != len(after):
            raise UserError(
                f"The dataset has {len(after)} {split} cases, not the {len(before)} that {whose}: put the list of "
                "cases back, or train in another folder."
            )
        for case, old, new in zip(cases, before, after, strict=True):
            if "images" in old:
                new = _version_1(case, new, dataset)
            if old != new:
                raise _another(_changed(old, new, case), f"{split} case '{case.name}'", whose)
    if "shared" not in earlier and not any("inputs" in entry for split in _SPLITS for entry in earlier[split]):
        return  # of version 1
    before, after = earlier.get("shared", {}), now.get("shared", {})
    for name in {**before, **after}:
        if name not in before or name not in after:
            raise _another(f"entry '{name}'", "dataset", whose)
        if before[name] != after[name]:
            raise _another(_changed(before[name], after[name], dataset.shared[name]), name, whose)


def _sources(sources: Mapping[str, Source]) -> dict[str, Any]:
    return {
        name: [fingerprint(file) for file in source.files] if source.files else value_fingerprint(source.value)
        for name, source in sources.items()
    }


def _ranks(patients: Iterable[str]) -> dict[str, int]:
    return {patient: rank for rank, patient in enumerate(sorted(set(patients)))}


def _version_1(case: Case, entry: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """An entry in the form of version 1, for the first image and its label; for a pair, those of the fixed image."""
    image = next((name for name, source in case.inputs.items() if source.kind == "image"), "")
    label = entry["targets"].get("label" if image in ("", "image") else f"{image}_label")
    ranks = _ranks(case.patient for split in _SPLITS for case in dataset.cases(split))
    return {
        "images": entry["inputs"].get(image, []),
        "label": label[0] if label else None,
        "patient": ranks[case.patient],
    }


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], case: Case) -> str:
    """What differs in a case, in words: "image", "moving image", "fixed label"."""
    if "images" in old:
        if old["images"] != new["images"]:
            return "image"
        return "label" if old["label"] != new["label"] else "place in the list"
    kinds = {name: source.kind for name, source in (*case.inputs.items(), *case.targets.items())}
    for part in ("inputs", "targets"):
        for name in {**old[part], **new[part]}:
            if old[part].get(name) != new[part].get(name):
                words = name.replace("_", " ")
                kind = kinds.get(name, "")
                return f"{words} {kind}" if kind in ("image", "transform") and kind not in name else words
    return "place in the list"


def _another(what: str, of: str, whose: str) -> UserError:
    return UserError(
        f"The {what} of the {of} is not the one that {whose}: put the data back as they were, or train in another "
        "folder."
    )
