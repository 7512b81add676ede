"""Writes a trained model as a MONAI bundle."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedDeepLib import __version__
from MedDeepLib.bundles.card import model_card
from MedDeepLib.bundles.layout import CARD, INFERENCE, METADATA, SCRIPT, WEIGHTS
from MedDeepLib.bundles.metadata import monai_metadata, plain_format
from MedDeepLib.bundles.torchscript import save_script
from MedDeepLib.core import Context, Method, Prepared, registry, to_mapping
from MedDeepLib.data.fingerprints import file_hash, fingerprint
from MedDeepLib.data.slots import Slot
from MedDeepLib.errors import CannotWrite

if TYPE_CHECKING:
    from MedDeepLib.data.dataset import Dataset
    from MedDeepLib.training.engine import Trained


def save_model(folder: Path, method: Method, prepared: Prepared, context: Context, trained: Trained) -> None:
    """Write a model so that the folder is either complete or missing.

    Raises CannotWrite when it cannot be written.
    """
    import torch

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()  # parents are not created: a deleted job folder stays deleted
        for file in (METADATA, WEIGHTS, CARD):
            (part / file).parent.mkdir(parents=True, exist_ok=True)
        torch.save(_weights(trained), part / WEIGHTS)
        metadata = _metadata(method, prepared, context, trained)
        inference = method.inference_config(metadata["meddeep"])
        if _only_network(trained):
            save_script(
                trained.networks[_only_network(trained)],
                part / SCRIPT,
                metadata,
                {INFERENCE.name: inference} if inference else {},
            )
        metadata["meddeep"]["files"] = {
            file.as_posix(): file_hash(part / file) for file in (WEIGHTS, SCRIPT) if (part / file).is_file()
        }
        if inference:
            write_json_file(part / INFERENCE, inference)
        write_json_file(part / METADATA, metadata)
        (part / CARD).write_text(model_card(metadata, bool(inference)), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise CannotWrite(
            f"The model could not be written to {folder} ({_reason(error)}): the checkpoint is kept; free space or "
            "check the permissions, and resume."
        ) from error


def _reason(error: Exception) -> str:
    # torch's writer hides the cause behind a RuntimeError of many lines: usually a full disk.
    return str(error.strerror or error) if isinstance(error, OSError) else "the disk is full"


def write_json_file(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _only_network(trained: Trained) -> str:
    """The name of the network if the model is a single network; empty otherwise."""
    return next(iter(trained.networks)) if len(trained.networks) == 1 and not trained.arrays else ""


def _weights(trained: Trained) -> dict[str, Any]:
    """A single network's plain weights, as MONAI's loaders expect; otherwise networks and arrays by name."""
    weights = {
        name: {key: value.cpu() for key, value in content.items()} for name, content in trained.weights().items()
    }
    return weights[_only_network(trained)] if _only_network(trained) else weights


def _metadata(method: Method, prepared: Prepared, context: Context, trained: Trained) -> dict[str, Any]:
    dataset = context.dataset
    own = method.model_metadata(prepared, context)
    task = registry.task(method.task)
    inputs = task.inputs_of_model(method.used_inputs(dataset))
    takes_images = not task.any_form or any(slot.kind == "image" for slot in inputs)
    data_format = own.pop("network_data_format", None) or plain_format(dataset.channels)
    metadata = monai_metadata(f"{method.title}: {dataset.name}", method.summary or method.title, data_format)
    return metadata | {
        "meddeep": {
            "version": __version__,
            "task": method.task,
            "method": method.name,
            "reference": method.reference,
            "parameters": to_mapping(method.parameters),
            "inputs": [slot_as_json(slot) for slot in inputs],
            "outputs": [slot_as_json(slot) for slot in task.outputs],
            "channels": list(dataset.channels) if takes_images else [],
            "classes": _classes(dataset),
            "plan": {},
            **own,
            "network": _only_network(trained),
            "training_data": _training_data(context),
            "figures": trained.metrics,
            "made": {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "seed": context.seed,
                "device": str(context.device),
                "python": platform.python_version(),
                "system": platform.platform(),
            },
        },
    }


def _classes(dataset: Dataset) -> list[dict[str, Any]]:
    """The classes with their label values, or only their names where not all of them have one."""
    if tuple(segment.name for segment in dataset.segments) != dataset.classes:
        return [{"name": name} for name in dataset.classes]
    return [{**vars(segment), "color": list(segment.color)} for segment in dataset.segments]


def _training_data(context: Context) -> dict[str, Any]:
    dataset = context.dataset
    cases = dataset.training + dataset.validation
    files = {file for case in (*cases, *dataset.shared.values()) for file in case.all_files}
    patients = {patient for case in cases for patient in case.patients}
    salt = secrets.token_hex(8)
    return {
        "name": dataset.name,
        "description": dataset.description,
        "cases": len(cases),
        "salt": salt,
        "patients": sorted({patient_code(patient, salt) for patient in patients}),
        "sites": sorted({case.site for case in cases if case.site}),
        "sha256": sorted(fingerprint(file) for file in files),  # without names: these often are patients
    }


def slot_as_json(slot: Slot) -> dict[str, Any]:
    """A slot in a model's metadata: enough to list its inputs even where its task is not installed."""
    return {"name": slot.name, "kind": slot.kind, "many": slot.many, "required": slot.required, "help": slot.help}


def patient_code(patient: str, salt: str) -> str:
    """A hash of a patient: recognises the same patient in a test list without identifying them."""
    return hashlib.sha256(f"{salt}:{patient}".encode()).hexdigest()[:32]
