"""All trained models: those that come with the extension and those of the user's runs, of every task."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.model import Model, read_model, released_models
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import folders_in

_METADATA = Path("configs/metadata.json")
_WEIGHTS = Path("models/model.pt")
_NOT_A_FIGURE = ("steps", "best step")


@dataclass(frozen=True)
class ModelEntry:
    """A model in a list, in words.

    Attributes:
        folder: the bundle.
        run: the run that has trained it, None for one that comes with the extension.
        title: its name; that of its folder when it cannot be read.
        problem: why it cannot be used; then the entries below are empty.
        task: segment, register, ...
        description: all that it says of itself, in a few sentences.
        needs: its inputs.
        labels: names of what it finds.
        data: on what it was trained.
        figures: by name, of the validation.
        date: when it was made, as in ISO 8601.
        made_on: the device.
    """

    folder: Path
    run: Path | None
    title: str
    problem: str = ""
    task: str = ""
    description: str = ""
    needs: str = ""
    labels: tuple[str, ...] = ()
    data: str = ""
    figures: tuple[tuple[str, float], ...] = ()
    date: str = ""
    made_on: str = ""

    @property
    def name(self) -> str:
        """The run's name, or the released model's."""
        return (self.run or self.folder).name


class ModelList:
    """Reads the models again and again at little cost, as :class:`~MedDeepLib.jobs.listing.JobList` does the jobs.

    Attributes:
        entries: of the models, the newest first, as they were at the end of the last :meth:`refresh`.
    """

    def __init__(self):
        self.entries: list[ModelEntry] = []
        self._known: dict[Path, tuple[Any, ModelEntry]] = {}

    def refresh(self, runs: Path) -> Iterator[None]:
        """Look at all models; stops after each of them."""
        known = {}
        for folder in released_models().values():
            known[folder] = self._look(folder, None)
            yield
        for run in folders_in(runs):
            folder = run / "model"
            if folder.is_dir():
                known[folder] = self._look(folder, run)
            yield
        self._known = known
        self.entries = sorted((entry for _, entry in known.values()), key=lambda entry: entry.date, reverse=True)

    def _look(self, folder: Path, run: Path | None) -> tuple[Any, ModelEntry]:
        stamp, known = _stamp(folder), self._known.get(folder)
        return known if known is not None and known[0] == stamp else (stamp, describe(folder, run))


def describe(folder: Path, run: Path | None) -> ModelEntry:
    """What a list shows of the model in ``folder``; nothing that lies in it makes this fail."""
    name = (run or folder).name
    try:
        model = read_model(folder)
        if not (folder / _WEIGHTS).is_file():
            raise UserError(f"The model {folder} has no weights ({_WEIGHTS}): train it again.")
        return _described(model, run)
    except UserError as error:
        return ModelEntry(folder, run, name, str(error))
    except (KeyError, TypeError, ValueError, AttributeError):
        return ModelEntry(folder, run, name, f"The model {folder} is damaged: its {_METADATA} is not complete.")


def _described(model: Model, run: Path | None) -> ModelEntry:
    data, made = model.metadata["training_data"], model.metadata.get("made", {})
    patients = len(data["patients"])
    words = f"{data['cases']} cases of {patients} patient{'' if patients == 1 else 's'}: {data['name']}"
    if data.get("sites"):
        words += f" ({', '.join(map(str, data['sites']))})"
    words = f"{words}. {data.get('description', '')}".strip()
    return ModelEntry(
        folder=model.folder,
        run=run,
        title=model.title,
        task=model.task,
        description=model.description(),
        needs=f"{len(model.channels)} input image{'s' if len(model.channels) > 1 else ''}: {', '.join(model.channels)}",
        labels=tuple(segment.name for segment in model.classes),
        data=words,
        figures=tuple(_figures(model.metadata.get("figures", {}))),
        date=str(made.get("date", "")),
        made_on=", ".join(str(made[key]).partition("-")[0] for key in ("device", "system") if made.get(key)),
    )


def _figures(stages: dict[str, dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for stage, values in stages.items():
        for name, value in values.items():
            if name not in _NOT_A_FIGURE and isinstance(value, int | float):
                yield (name if len(stages) == 1 else f"{stage}: {name}"), float(value)


def _stamp(folder: Path) -> tuple:
    """Changes when the model is written anew or loses its weights."""
    found = []
    for file in (_METADATA, _WEIGHTS):
        with contextlib.suppress(OSError):
            state = os.stat(folder / file)
            found.append((file, state.st_mtime_ns, state.st_size))
    return tuple(found)
