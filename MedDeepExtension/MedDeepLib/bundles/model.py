"""A trained model on disk: a MONAI bundle with additional entries for our methods, or a bundle from elsewhere.

::

    configs/metadata.json    MONAI's metadata, plus "meddeep": method, parameters, plan, classes, training data
    configs/inference.json   how to apply it with MONAI's own command line
    models/model.pt          weights, readable with weights_only: the network's, or those of several networks by name
    models/model.ts          the network as TorchScript, if it can be exported
    docs/README.md           model card
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedDeepLib.bundles.layout import CONFIGS, METADATA, WEIGHTS
from MedDeepLib.core import Method, from_mapping, get, methods, registry, tasks
from MedDeepLib.core.registry import imported_method
from MedDeepLib.data.formats.tensor_file import DamagedFileError, load_tensors
from MedDeepLib.data.slots import Slot
from MedDeepLib.data.sources.labels import Segment
from MedDeepLib.errors import UserError

if TYPE_CHECKING:
    from MedDeepLib.bundles.foreign.trust_question import NotTrusted

FOREIGN = "monai-bundle"  # the method of a bundle from elsewhere
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
    """An opened model: its folder and metadata; the weights are read on demand."""

    folder: Path
    title: str
    metadata: dict[str, Any]

    @property
    def task(self) -> str:
        return self.metadata["task"]

    @property
    def trained(self) -> bool:
        """False for a method that needs no training, see :func:`open_model`."""
        return "training_data" in self.metadata

    @property
    def reference(self) -> str:
        """The reference by which :func:`open_model` opens it, independent of the working folder."""
        return str(self.folder.expanduser().absolute()) if self.trained else str(self.metadata["method"])

    @property
    def finds_classes(self) -> bool:
        """Whether it outputs its classes; they may also just describe its training data."""
        return self.task not in tasks() or registry.task(self.task).finds_classes

    @property
    def inputs(self) -> tuple[Slot, ...]:
        """Its inputs: the task's slots when it was made, or the task's current ones if not recorded."""
        if "inputs" in self.metadata:
            return tuple(Slot(**slot) for slot in self.metadata["inputs"])
        return registry.task(self.task).applied if self.task in tasks() else ()

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(self.metadata["channels"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes."""
        return tuple(entry["name"] for entry in self.metadata["classes"])

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Its classes as values of a label map, each with a colour; empty if they are only names."""
        entries = [entry for entry in self.metadata["classes"] if "value" in entry]
        return tuple(Segment(**{**entry, "color": tuple(entry["color"])}) for entry in entries)

    @property
    def is_foreign(self) -> bool:
        """Whether it was made elsewhere, so that its own configuration says how it is applied."""
        return self.metadata["method"] == FOREIGN

    def method_class(self) -> type[Method]:
        """Raises UserError when the method is not installed."""
        return imported_method(self.task) if self.is_foreign else get(self.task, self.metadata["method"])

    def make_method(self) -> Method:
        """The method with the parameters that the model was trained with."""
        method_class = self.method_class()
        return method_class(from_mapping(method_class.Parameters, self.metadata["parameters"]))

    def untrusted(self, thorough: bool = False) -> NotTrusted | None:
        """The question to the user before the model can be used; None for most.

        ``thorough`` reads all of the model's files, as the worker does; without it only sizes and times are looked at.
        """
        # Imported only for bundles from elsewhere: most models are not, and the panel should open quickly.
        from MedDeepLib.bundles.foreign import trust
        from MedDeepLib.bundles.foreign.inspection import Finding
        from MedDeepLib.bundles.foreign.trust_question import NotTrusted

        findings = tuple(Finding(*finding) for finding in self.metadata.get("findings", ()))
        if not findings or (trust.is_trusted if thorough else trust.seems_trusted)(self.folder):
            return None
        return NotTrusted(self.folder, self.title, findings)

    def fingerprint(self) -> tuple:
        """A stamp that changes when the model is rewritten or its weights are replaced; reads no weights."""
        files = [self.folder / file for file in (METADATA, WEIGHTS, *CONFIGS)]
        states = [file.stat() for file in files if file.exists()]
        return tuple((state.st_ino, state.st_size, state.st_mtime_ns) for state in states)

    def load_weights(self) -> dict[str, dict[str, Any]]:
        """State dictionaries of the model's networks by name. Raises UserError when the file is damaged."""
        try:
            weights = dict(load_tensors(self.folder / WEIGHTS))
        except FileNotFoundError:
            raise UserError(f"The model {self.folder} has no weights ({WEIGHTS}): train it again.") from None
        except (DamagedFileError, TypeError, ValueError):
            raise UserError(
                f"The weights of the model {self.folder} cannot be read: the file is damaged; copy or train it again."
            ) from None
        # A single network's weights are stored as a plain state dictionary, as MONAI's loaders expect.
        name = self.metadata.get("network")
        return {name: weights} if name and name not in weights else weights

    def summary(self) -> str:
        """Its inputs and outputs, in a line or two."""
        if not self.trained:
            return f"Without a trained network. {self.method_class().summary}"
        names = list(self.classes) if self.finds_classes else []
        found = ", ".join(names) if len(names) <= 3 else f"{len(names)} structures ({names[0]}, {names[1]}, ...)"
        cases = self.metadata["training_data"]["cases"]
        origin = "From elsewhere." if self.is_foreign else f"Trained and validated on {cases} cases."
        return f"Needs {self._needs()}{'; finds ' + found if found else ''}. {origin}"

    def _needs(self) -> str:
        """Its inputs: "2 input images (T1, T2) and table"."""
        count = len(self.channels)
        images = [f"{count} input image{'s' if count > 1 else ''} ({', '.join(self.channels)})"] if count else []
        others = [slot.name for slot in self.inputs if slot.required and slot.kind != "image"]
        return " and ".join([*images, *others]) or "nothing"

    def description(self) -> str:
        """Its description for users, in a few sentences."""
        if not self.trained:
            return f"{self.title}. {self.summary()}"
        data = self.metadata["training_data"]
        names = ", ".join(self.classes) if self.finds_classes else ""
        source = f"Trained and validated on {data['cases']} cases of {data['name']}."
        if self.is_foreign:
            source = f"Made elsewhere, from: {data['name']}." if data["name"] else "Made elsewhere."
        finds = f"; finds {names}" if names else ""
        return f"{self.title}. Needs {self._needs()}{finds}. {source} {data['description']}".strip()


def open_model(reference: str | Path, task: str) -> Model:
    """Open a model by its folder, the run that trained it, or the name of a released model; or a bundle from elsewhere.

    The name of a method that needs no training opens it as a model without weights.

    Raises UserError when there is no such model, it is damaged, or it is a model for another task.
    """
    untrained = methods(task).get(str(reference)) if task in tasks() else None
    if untrained is not None and untrained.needs_no_model and not Path(reference).is_dir():
        return _untrained(untrained)
    folder = _find(reference)
    try:
        content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        if isinstance(content, dict) and "meddeep" not in content:
            return _open_foreign(folder, task)
        model = Model(folder, str(content["name"]), dict(content["meddeep"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"The model {folder} is damaged: its {METADATA} cannot be read.") from None
    _check_metadata(model)
    _check_task(folder, model.task, task)
    return model


def _untrained(method: type[Method]) -> Model:
    metadata = {"task": method.task, "method": method.name, "parameters": {}, "channels": [], "classes": []}
    return Model(Path(method.name), method.title, metadata | {"plan": {}})


def _open_foreign(folder: Path, task: str) -> Model:
    from MedDeepLib.bundles.foreign.inspection import read_bundle
    from MedDeepLib.bundles.foreign.structures import output_classes

    bundle = read_bundle(folder)
    _check_task(folder, bundle.task, task)
    metadata = {
        "task": bundle.task,
        "method": FOREIGN,
        "parameters": {},
        "plan": {},
        "channels": list(bundle.channels),
        "classes": [{**vars(s), "color": list(s.color)} for s in output_classes(bundle)],
        "training_data": {
            "name": str(bundle.metadata.get("data_source", "")),
            "description": " ".join([str(bundle.metadata.get("description", "")), *bundle.facts()]).strip(),
            "cases": 0,
            "patients": [],
        },
        "findings": [[finding.where, finding.what, finding.why] for finding in bundle.findings],
    }
    return Model(folder, bundle.title, metadata)


def _check_task(folder: Path, found: str, wanted: str) -> None:
    if found != wanted:
        where = "a task that is not installed here"
        if found in tasks():
            where = f"the module {registry.task(found).title}"
        raise UserError(
            f"The model {folder} is for the task '{found}', not for '{wanted}': it belongs to {where}; choose another "
            "model."
        )


def _check_metadata(model: Model) -> None:
    """Raise UserError unless all required entries are present and of the right type."""
    for key, kind in _ENTRIES.items():
        if not isinstance(model.metadata.get(key), kind):
            raise UserError(f"The model {model.folder} is damaged: its {METADATA} lacks '{key}'.")
    try:
        complete = all(isinstance(name, str) for name in model.channels)
        complete = complete and (bool(model.channels) or not any(slot.kind == "image" for slot in model.inputs))
        complete = complete and bool(model.description()) and isinstance(model.segments, tuple)
        complete = complete and isinstance(model.metadata["training_data"]["patients"], list)
    except (KeyError, TypeError, ValueError):
        complete = False
    if not complete:
        raise UserError(f"The model {model.folder} is damaged: its {METADATA} is not complete.")


def released_models(task: str = "") -> dict[str, Path]:
    """Folders of the models released with the extension, by name: those for ``task``, or all."""
    root = Path(__file__).resolve().parents[2]
    found = {}
    for resources in (root / "Resources", *root.parent.glob("*Module/Resources")):
        for file in sorted((resources / "Models").glob(f"*/{METADATA.as_posix()}")):
            folder = file.parents[1]
            if not task or _is_for(task, folder, file.stat().st_mtime_ns):
                found[folder.name] = folder
    return found


@lru_cache(maxsize=64)
def _is_for(task: str, folder: Path, modified: int) -> bool:
    """Whether a model can be opened for a task; checked again when its metadata are ``modified``."""
    try:
        open_model(folder, task)
    except UserError:
        return False
    return True


def models_below(models_folder: Path, task: str) -> list[Model]:
    """The imported models for a task by name, without damaged ones."""
    found = []
    for folder in sorted(models_folder.glob("*/")):
        if not folder.name.startswith("."):
            with contextlib.suppress(UserError):
                found.append(open_model(folder, task))
    return found


def _find(reference: str | Path) -> Path:
    path = Path(reference)
    for candidate in (path, path / "model"):
        if (candidate / METADATA).is_file():
            return candidate
    released = released_models()
    if str(reference) in released:
        return released[str(reference)]
    if path.is_dir():
        raise UserError(f"The folder {path} contains no trained model: its training may not have finished.")
    known = f" ({', '.join(released)})" if released else ""
    raise UserError(
        f"There is no model '{reference}': give a run folder, a model folder or a released model's name{known}."
    )
