"""All models of every task: released, trained in the user's runs, or imported."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.foreign.inspection import Finding
from MedDeepLib.bundles.layout import CONFIGS, METADATA, SCRIPT, WEIGHTS
from MedDeepLib.bundles.model import Model, open_model, released_models
from MedDeepLib.bundles.transfer import task_of
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import folders_in
from MedDeepLib.jobs.runs import models_folder

_NOT_A_FIGURE = ("steps", "best step")


class Origin(StrEnum):
    RELEASED = "released"
    RUN = "run"
    IMPORTED = "imported"


@dataclass(frozen=True)
class ModelEntry:
    """A model in a list, in words.

    Attributes:
        folder: the bundle.
        origin: where it comes from.
        name: of the run that trained it, or of its own folder.
        title: from its metadata; its name when that cannot be read.
        problem: why it cannot be used; if so, the attributes below are empty.
        task: segment, register, ...
        description: from its metadata, in a few sentences.
        needs: its inputs.
        labels: names of the classes it finds.
        data: the training data, in words.
        asks: code beyond the allow-list that it runs only if the user trusts it.
        metrics: validation metrics by name.
        date: when it was made, as in ISO 8601.
        made_on: the device.
    """

    folder: Path
    origin: Origin
    name: str
    title: str
    problem: str = ""
    task: str = ""
    description: str = ""
    needs: str = ""
    labels: tuple[str, ...] = ()
    data: str = ""
    asks: tuple[str, ...] = ()
    metrics: tuple[tuple[str, float], ...] = ()
    date: str = ""
    made_on: str = ""

    @property
    def run(self) -> Path | None:
        """The run that trained it; None for a released or imported model."""
        return self.folder.parent if self.origin is Origin.RUN else None


class ModelList:
    """The list of models; cheap to refresh, like :class:`~MedDeepLib.jobs.listing.JobList`.

    Attributes:
        entries: of the models, the newest first, as they were at the end of the last :meth:`refresh`.
    """

    def __init__(self):
        self.entries: list[ModelEntry] = []
        self._known: dict[Path, tuple[Any, ModelEntry]] = {}

    def refresh(self, runs: Path) -> Generator[None]:
        """Read all models; yields after each, so that the caller can do other work."""
        known = {}
        for folder, origin in _models(runs):
            if folder is not None:
                known[folder] = self._look(folder, origin)
            yield
        self._known = known
        self.entries = sorted((entry for _, entry in known.values()), key=lambda entry: entry.date, reverse=True)

    def _look(self, folder: Path, origin: Origin) -> tuple[Any, ModelEntry]:
        stamp, known = _stamp(folder), self._known.get(folder)
        return known if known is not None and known[0] == stamp else (stamp, describe(folder, origin))


def describe(folder: Path, origin: Origin) -> ModelEntry:
    """The list entry of the model in ``folder``; no content of the folder makes this fail."""
    name = (folder.parent if origin is Origin.RUN else folder).name
    problem = f"The model {folder} is damaged: its {METADATA} is not complete."
    try:
        model = open_model(folder, task_of(folder))
        if not ((folder / WEIGHTS).is_file() or (model.is_foreign and (folder / SCRIPT).is_file())):
            raise UserError(f"The model {folder} has no weights ({WEIGHTS}): train or copy it again.")
        return _described(model, origin, name)
    except UserError as error:
        problem = str(error)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return ModelEntry(folder, origin, name, name, problem)


def _models(runs: Path) -> Iterator[tuple[Path | None, Origin]]:
    """The folder and origin of every model; the folder is None for a run without a model."""
    for folder in released_models().values():
        yield folder, Origin.RELEASED
    for folder in folders_in(models_folder(runs)):
        yield folder, Origin.IMPORTED
    for run in folders_in(runs):
        folder = run / "model"
        yield folder if folder.is_dir() else None, Origin.RUN


def _described(model: Model, origin: Origin, name: str) -> ModelEntry:
    metadata, made = model.metadata, model.metadata.get("made", {})
    return ModelEntry(
        folder=model.folder,
        origin=origin,
        name=name,
        title=model.title,
        task=model.task,
        description=model.description(),
        needs=f"{len(model.channels)} input image{'s' if len(model.channels) > 1 else ''}: {', '.join(model.channels)}",
        labels=model.classes,
        data=_data(metadata["training_data"], model.is_foreign),
        asks=tuple(Finding(*finding).in_words() for finding in metadata.get("findings", ())),
        metrics=tuple(_metrics(metadata.get("figures", {}))),
        date=str(made.get("date", "")),
        made_on=", ".join(str(made[key]).partition("-")[0] for key in ("device", "system") if made.get(key)),
    )


def _data(data: dict[str, Any], is_foreign: bool) -> str:
    if is_foreign:
        return " ".join(text for text in (data["name"], data["description"]) if text)
    patients = len(data["patients"])
    words = f"{data['cases']} cases of {patients} patient{'' if patients == 1 else 's'}: {data['name']}"
    if data.get("sites"):
        words += f" ({', '.join(map(str, data['sites']))})"
    return f"{words}. {data.get('description', '')}".strip()


def _metrics(stages: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for stage, values in stages.items():
        for name, value in values.items():
            if name not in _NOT_A_FIGURE and isinstance(value, int | float):
                yield (name if len(stages) == 1 else f"{stage}: {name}"), float(value)


def _stamp(folder: Path) -> tuple:
    """A stamp that changes when the model is rewritten, edited, or loses its weights."""
    found = []
    for file in (METADATA, *CONFIGS, WEIGHTS, SCRIPT):
        with contextlib.suppress(OSError):
            state = os.stat(folder / file)
            found.append((file, state.st_mtime_ns, state.st_size))
    return tuple(found)
