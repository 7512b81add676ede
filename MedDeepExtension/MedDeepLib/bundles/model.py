"""A trained model on disk: a MONAI bundle with what our methods need to know in addition.

::

    configs/metadata.json    MONAI's metadata, plus "meddeep": method, parameters, plan, classes, training data
    models/model.pt          weights of every network by name, readable with weights_only
    docs/README.md           model card
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedDeepLib import __version__
from MedDeepLib.data.fingerprints import fingerprint
from MedDeepLib.data.segmentation_file import Segment
from MedDeepLib.data.tensor_file import DamagedFileError, load_tensors
from MedDeepLib.errors import CannotWrite, UserError
from MedDeepLib.methods import Context, Method, from_mapping, get, to_mapping

if TYPE_CHECKING:
    from MedDeepLib.training.engine import Outcome

_METADATA = Path("configs/metadata.json")
_WEIGHTS = Path("models/model.pt")
_CARD = Path("docs/README.md")
_ENTRIES = {
    "task": str,
    "method": str,
    "parameters": dict,
    "plan": dict,
    "channels": list,
    "classes": list,
    "training_data": dict,
}


@dataclass(frozen=True)
class Model:
    """A model that can be opened: its folder and what it says of itself; the weights are read on demand."""

    folder: Path
    title: str
    metadata: dict[str, Any]

    @property
    def task(self) -> str:
        return self.metadata["task"]

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.metadata["channels"])

    @property
    def classes(self) -> tuple[Segment, ...]:
        return tuple(Segment(**{**c, "color": tuple(c["color"])}) for c in self.metadata["classes"])

    def make_method(self) -> Method:
        """The method with the parameters that the model was trained with."""
        method_class = get(self.task, self.metadata["method"])
        return method_class(from_mapping(method_class.Parameters, self.metadata["parameters"]))

    def fingerprint(self) -> tuple:
        """Changes whenever the model is written anew or its weights are replaced; reads no weights."""
        states = [(self.folder / file).stat() for file in (_METADATA, _WEIGHTS) if (self.folder / file).exists()]
        return tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)

    def load_weights(self) -> dict[str, dict[str, Any]]:
        """State dictionaries of the model's networks by name. Raises UserError when the file is damaged."""
        try:
            return dict(load_tensors(self.folder / _WEIGHTS))
        except FileNotFoundError:
            raise UserError(f"The model {self.folder} has no weights ({_WEIGHTS}): train it again.") from None
        except (DamagedFileError, TypeError, ValueError):
            raise UserError(
                f"The weights of the model {self.folder} cannot be read: the file is damaged; copy or train it again."
            ) from None

    def summary(self) -> str:
        """What it needs and finds, in a line or two."""
        names = [segment.name for segment in self.classes]
        found = ", ".join(names) if len(names) <= 3 else f"{len(names)} structures ({names[0]}, {names[1]}, ...)"
        inputs = f"{len(self.channels)} input image{'s' if len(self.channels) > 1 else ''} ({', '.join(self.channels)})"
        cases = self.metadata["training_data"]["cases"]
        return f"Needs {inputs}; finds {found}. Trained and validated on {cases} cases."

    def description(self) -> str:
        """Everything a user should know of it, in a few sentences."""
        data = self.metadata["training_data"]
        names = ", ".join(segment.name for segment in self.classes)
        inputs = f"{len(self.channels)} input image{'s' if len(self.channels) > 1 else ''} ({', '.join(self.channels)})"
        source = f"Trained and validated on {data['cases']} cases of {data['name']}."
        return f"{self.title}. Needs {inputs}; finds {names}. {source} {data['description']}".strip()


def open_model(reference: str | Path, task: str) -> Model:
    """Open a model by its folder, the run that trained it, or the name of a released model.

    Raises UserError when there is no such model, it is damaged, or it is a model for another task.
    """
    folder = _find(reference)
    try:
        content = json.loads((folder / _METADATA).read_text(encoding="utf-8"))
        model = Model(folder, str(content["name"]), dict(content["meddeep"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"The model {folder} is damaged: its {_METADATA} cannot be read.") from None
    _check_metadata(model)
    if model.task != task:
        raise UserError(f"The model {folder} is for the task '{model.task}', not for '{task}': choose another model.")
    return model


def _check_metadata(model: Model) -> None:
    """Raise UserError unless everything that is asked of a model later on is there and of the right kind."""
    for key, kind in _ENTRIES.items():
        if not isinstance(model.metadata.get(key), kind):
            raise UserError(f"The model {model.folder} is damaged: its {_METADATA} lacks '{key}'.")
    try:
        complete = all(isinstance(name, str) for name in model.channels) and bool(model.classes and model.channels)
        complete = (
            complete and bool(model.description()) and isinstance(model.metadata["training_data"]["patients"], list)
        )
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise UserError(f"The model {model.folder} is damaged: its {_METADATA} is not complete.")


def save_model(folder: Path, method: Method, context: Context, outcome: Outcome) -> None:
    """Write a model so that the folder is either complete or not there.

    Raises CannotWrite when it cannot be written.
    """
    import torch

    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()  # not its parents: a job folder that has been deleted stays deleted
        for file in (_METADATA, _WEIGHTS, _CARD):
            (part / file).parent.mkdir(parents=True, exist_ok=True)
        weights = {name: network.state_dict() for name, network in outcome.networks.items()}
        torch.save({n: {k: v.cpu() for k, v in state.items()} for n, state in weights.items()}, part / _WEIGHTS)
        metadata = _metadata(method, context, outcome)
        (part / _METADATA).write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (part / _CARD).write_text(_model_card(metadata), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise CannotWrite(
            f"The model could not be written to {folder} ({_reason(error)}): the checkpoint is kept; make room or "
            "allow writing there, and resume."
        ) from error


def _reason(error: Exception) -> str:
    # torch's writer hides what went wrong behind a RuntimeError of many lines: mostly a full disk.
    return str(error.strerror or error) if isinstance(error, OSError) else "the disk is full"


def released_models() -> dict[str, Path]:
    """Folders of the models that come with the extension, by name."""
    root = Path(__file__).resolve().parents[2]
    found = {}
    for resources in (root / "Resources", *root.parent.glob("*Module/Resources")):
        for file in sorted((resources / "Models").glob(f"*/{_METADATA.as_posix()}")):
            folder = file.parents[1]
            found[folder.name] = folder
    return found


def _find(reference: str | Path) -> Path:
    path = Path(reference)
    for candidate in (path, path / "model"):
        if (candidate / _METADATA).is_file():
            return candidate
    released = released_models()
    if str(reference) in released:
        return released[str(reference)]
    if path.is_dir():
        raise UserError(f"The folder {path} holds no trained model: its training may not have finished.")
    known = f" ({', '.join(released)})" if released else ""
    raise UserError(
        f"There is no model '{reference}': give a run folder, a model folder or a released model's name{known}."
    )


def _metadata(method: Method, context: Context, outcome: Outcome) -> dict[str, Any]:
    import monai
    import numpy
    import torch

    dataset = context.dataset
    own = method.model_metadata(context)
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": "trained"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__,
        "optional_packages_version": {},
        "name": f"{method.title}: {dataset.name}",
        "task": method.summary,
        "description": method.summary,
        "authors": "made with MedDeepExtension",
        "copyright": "of whoever trained it",
        "intended_use": "Research use only; not for clinical decisions.",
        "network_data_format": own.pop("network_data_format"),
        "meddeep": {
            "version": __version__,
            "task": method.task,
            "method": method.name,
            "reference": method.reference,
            "parameters": to_mapping(method.parameters),
            "channels": list(dataset.channels),
            "classes": [{**vars(s), "color": list(s.color)} for s in dataset.classes],
            **own,
            "training_data": _training_data(context),
            "figures": outcome.figures,
            "made": {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "seed": context.seed,
                "device": str(context.device),
                "python": platform.python_version(),
                "system": platform.platform(),
            },
        },
    }


def _training_data(context: Context) -> dict[str, Any]:
    dataset = context.dataset
    cases = dataset.training + dataset.validation
    files = {file for case in cases for file in (*case.images, case.label) if file}
    salt = secrets.token_hex(8)
    return {
        "name": dataset.name,
        "description": dataset.description,
        "cases": len(cases),
        "salt": salt,
        "patients": sorted({patient_code(case.patient, salt) for case in cases}),
        "sites": sorted({case.site for case in cases if case.site}),
        "sha256": sorted(fingerprint(file) for file in files),  # without names: these often are patients
    }


def patient_code(patient: str, salt: str) -> str:
    """What a model keeps of a patient: enough to notice the same one in a test list, not to tell who it is."""
    return hashlib.sha256(f"{salt}:{patient}".encode()).hexdigest()[:32]


def _model_card(metadata: dict[str, Any]) -> str:
    own = metadata["meddeep"]
    data = own["training_data"]
    classes = "\n".join(f"- {c['value']}: {c['name']}" for c in own["classes"])
    figures = "\n".join(f"- {stage}: {figure}" for stage, figure in own["figures"].items())
    return (
        f"# {metadata['name']}\n\n{metadata['description']}\n\n"
        f"Method: {own['method']} ({own['reference']}).\n\n"
        f"**{metadata['intended_use']}** No claim of clinical accuracy is made.\n\n"
        f"## Input\n{', '.join(own['channels'])}\n\n## Output\n{classes}\n\n"
        f"## Training data\n{data['cases']} cases of {len(data['patients'])} patients: {data['name']}. "
        f"{data['description']}\n\n## Figures\nOn the validation cases:\n\n{figures}\n"
    )
