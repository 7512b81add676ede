"""``job.json``: what to do, in a versioned schema that is validated before anything starts."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedDeepLib.core import ApplyItem, from_mapping, get, registry
from MedDeepLib.devices import ALL, check_request
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.items import check_files, check_item, from_json, from_version_1, to_json

SCHEMA_VERSION = 2
ACTIONS = ("train", "plan", "apply", "cohort", "evaluate", "crossvalidate")
BY_SITE = "site"
MOST_PROCESSES = 64
_SCHEDULER = re.compile(r"(tcp|tls|ws|wss|ucx)://[^\s/]+:\d+")
_VERBS = {"crossvalidate": "cross-validate"}


@dataclass(frozen=True)
class Job:
    """One piece of work for a worker process.

    Attributes:
        task: its name, e.g. segment or register.
        action: train, plan (what a training chooses), apply, cohort (apply to hundreds of cases), evaluate or
            crossvalidate.
        method: name of the method to train.
        parameters: of the method (train, plan, crossvalidate) or of the application (apply, evaluate), by name.
        dataset: JSON, CSV or folder to train on or to evaluate with (its test cases).
        folds: of a cross-validation: how many by patient, or "site" to leave out one site at a time.
        model: folder of the model to apply or evaluate, or a run that holds one.
        items: the cases to apply the model to.
        inputs: CSV list or folder of the cases of a cohort.
        output: the folder for the results of a cohort.
        scheduler: address of the dask scheduler for a cohort; empty: this computer.
        workers: processes of this computer for a cohort; 0: as many as the devices and the memory allow.
        report: the CSV file that an evaluation writes; metrics.csv in the job folder when empty.
        device: auto, cpu, cuda:N, mps, or for a training all: every GPU of this computer.
        processes: how many train together, each on its own GPU or all on the CPU; 0: one for each device that
            ``device`` selects. The batch size is per process.
        seed: of all randomness.
        threads: number of CPU threads; 0: as many as leave Slicer usable, see devices.threads.
        deterministic: whether a training on a GPU is repeatable to the last bit, which is slower; on a CPU it
            always is.
        profile: whether to record what torch computes in the first seconds of training or applying.
    """

    task: str
    action: str
    method: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    dataset: str = ""
    folds: str = ""
    model: str = ""
    items: tuple[ApplyItem, ...] = ()
    inputs: str = ""
    output: str = ""
    scheduler: str = ""
    workers: int = 0
    report: str = ""
    device: str = "auto"
    processes: int = 0
    seed: int = 0
    threads: int = 0
    deterministic: bool = False
    profile: bool = False
    version: int = SCHEMA_VERSION

    @property
    def title(self) -> str:
        """Action and method or model, for lists: "train unet", "apply lungs"."""
        return f"{_VERBS.get(self.action, self.action)} {self.method or Path(self.model).name}"

    def validate(self) -> None:
        """Raise UserError with one sentence for the first thing that is wrong; reads no image and no weights."""
        if self.action not in ACTIONS:
            raise UserError(f"There is no action '{self.action}': use {', '.join(ACTIONS)}.")
        registry.task(self.task)
        check_request(self.device)
        if not 0 <= self.seed < 2**31:
            raise UserError(f"The seed must be from 0 to {2**31 - 1}, not {self.seed}.")
        if self.action not in ("train", "plan") and (self.device == ALL or self.processes > 1):
            raise UserError("Only training runs on several devices or in several processes: choose one device.")
        if not 0 <= self.processes <= MOST_PROCESSES:
            raise UserError(
                f"The number of processes must be 0 (one for each device) to {MOST_PROCESSES}, not {self.processes}."
            )
        if self.threads < 0:
            raise UserError(f"The number of threads must be 0 (a share of the cores) or more, not {self.threads}.")
        getattr(self, f"_validate_{self.action}")()

    def _validate_train(self) -> None:
        method = get(self.task, self.method)
        if not method.trainable:
            raise UserError(f"{method.title} is not trained: apply it by its name, '{method.name}'.")
        method(from_mapping(method.Parameters, self.parameters))
        if not self.dataset:
            raise UserError("Training needs a dataset: a JSON or CSV list, or a folder of images and labels.")

    _validate_plan = _validate_train

    def _validate_crossvalidate(self) -> None:
        self._validate_train()
        if self.folds != BY_SITE and not (self.folds.isdecimal() and int(self.folds) >= 2):
            raise UserError(
                f"The folds of a cross-validation must be a number of at least 2, or '{BY_SITE}' to leave out one site "
                f"at a time, not '{self.folds}'."
            )

    def _validate_apply(self) -> None:
        if not self.model:
            raise UserError("Applying needs a model: a run folder, a model folder, or the name of a released model.")
        if not self.items:
            raise UserError("Applying needs at least one case: name its inputs and outputs.")
        for item in self.items:
            check_item(item, registry.task(self.task))
        check_files(self.items)

    def _validate_cohort(self) -> None:
        if not self.model:
            raise UserError("A cohort needs a model: a run folder, a model folder, or the name of a released model.")
        if not self.inputs or not self.output:
            raise UserError("A cohort needs inputs, a CSV list or a folder of images, and a folder for the results.")
        if self.scheduler and not _SCHEDULER.fullmatch(self.scheduler):
            raise UserError(
                f"'{self.scheduler}' is not the address of a scheduler: give the one that 'dask scheduler' prints, "
                "e.g. tcp://10.0.0.1:8786."
            )
        if self.workers < 0:
            raise UserError(f"The number of workers must be 0 (as many as fit) or more, not {self.workers}.")

    def _validate_evaluate(self) -> None:
        if not self.model:
            raise UserError("An evaluation needs a model: a run folder, a model folder, or a released model's name.")
        if not self.dataset:
            raise UserError("An evaluation needs a dataset with test cases.")

    def save(self, path: Path) -> None:
        """Write the job as JSON."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        content["items"] = [to_json(item) for item in self.items]
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read and validate a job file, also one of version 1, whose items were images with an output.

        Raises UserError when it is missing, not a job, of a newer version, or wrong in any field.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(f"The job file {path} cannot be read: give the folder of a job.") from None
        except ValueError as error:
            raise UserError(f"The job file {path} is not valid JSON ({error}): correct it.") from None
        if not isinstance(content, dict):
            raise UserError(f"The job file {path} must hold one JSON object.")
        version = content.pop("version", None)
        if type(version) is not int or version not in _READ_ITEM:
            raise UserError(
                f"The job file {path} has version {version}, this program reads version {SCHEMA_VERSION}: "
                "use the program that wrote it, or start a new job."
            )
        fields = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(content) - set(fields))
        if unknown:
            raise UserError(f"The job file {path} has an unknown entry '{unknown[0]}'.")
        for name, value in content.items():
            _check_type(path, name, value, _JSON_TYPES[str(fields[name].type)])
        for name in ("task", "action"):
            if name not in content:
                raise UserError(f"The job file {path} lacks '{name}'.")
        task = registry.task(content["task"])
        read_item = _READ_ITEM[version]
        items = tuple(read_item(entry, task, f"The job file {path}") for entry in content.pop("items", []))
        job = cls(items=items, **content)
        job.validate()
        return job


_JSON_TYPES = {"str": str, "int": int, "bool": bool, "dict[str, Any]": dict, "tuple[ApplyItem, ...]": list}
_READ_ITEM = {1: from_version_1, SCHEMA_VERSION: from_json}


def _check_type(path: Path, name: str, value: Any, expected: type) -> None:
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        words = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}[expected]
        raise UserError(f"The job file {path}: '{name}' must be {words}, not {value!r}.")
