"""The contract of every method of every task, found through the registry: a new method needs no new test.

A task provides its smallest dataset in ``tiny_<task>.py`` beside this folder: ``write_dataset(folder)``, and the values
``TRAINING`` and ``APPLYING`` that make its networks small and quick. Whether a method *learns* is not tested here: each
method has its own slow test for that.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from MedDeepLib.core import ApplyItem, Method, describe, from_mapping, get, methods, registry, tasks, to_mapping
from MedDeepLib.data.dataset import load_dataset
from MedDeepLib.data.slots import Case, Source
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Job, JobFolder, State
from toy_cases import failure, run_job, run_worker

METHODS = [(task, name) for task in tasks() for name in methods(task)]
STEPS = 2
LIST = """
import sys
from MedDeepLib.core import describe, methods, tasks
for task in tasks():
    for method in methods(task).values():
        describe(method.Parameters), describe(method.ApplyParameters)
        print(task, method.name)
heavy = {"torch", "monai", "itk", "ignite", "sklearn", "matplotlib"} & {name.partition(".")[0] for name in sys.modules}
assert not heavy, f"{heavy} are imported at the top of a file"
"""


def tiny(task: str) -> ModuleType:
    try:
        return importlib.import_module(f"tiny_{task}")
    except ModuleNotFoundError:
        pytest.fail(f"Write Testing/Python/tiny_{task}.py: it brings the dataset for the methods of '{task}'.")


def test_methods_are_listed_without_torch():
    """As panels list them: in a process without the worker's packages."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, sys.path)))
    environment.pop("COVERAGE_PROCESS_START", None)
    listed = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, env=environment, timeout=120)
    assert listed.returncode == 0, listed.stderr
    assert [tuple(line.split()) for line in listed.stdout.splitlines()] == METHODS


@pytest.mark.parametrize("task, name", METHODS)
def test_it_says_what_it_is(task, name):
    method = get(task, name)
    assert (method.task, method.name) == (task, name) and name == name.lower()
    for text in (method.title, method.reference, method.summary, inspect.getdoc(method)):
        assert text.strip()
    assert method.summary.endswith(".") and inspect.getdoc(method) != inspect.getdoc(Method)
    assert method.trainable or method.needs_no_model, "it could never be applied"
    for parameters in (method.Parameters, method.ApplyParameters):
        assert len({info.name for info in describe(parameters)}) == len(describe(parameters))
        for info in describe(parameters):
            assert info.help.endswith("."), f"{info.name} has no help"
        defaults = parameters()
        as_json = json.loads(json.dumps(to_mapping(defaults)))
        assert from_mapping(parameters, as_json) == defaults, "the defaults are outside their own bounds"
    method()


@pytest.mark.parametrize("task, name", METHODS)
def test_unknown_parameters_are_refused_in_a_sentence(task, name):
    method = get(task, name)
    with pytest.raises(UserError, match="no_such_setting"):
        from_mapping(method.Parameters, {"no_such_setting": 1})


@dataclass(frozen=True)
class Subject:
    """A method with its tiny dataset and, if it can be trained, its training run."""

    method: type[Method]
    dataset: Path
    run: Path | None

    @property
    def model(self) -> str:
        return str(self.run) if self.run else self.method.name

    def job(self, action: str, **fields) -> Job:
        return Job(self.method.task, action, device="cpu", threads=1, seed=3, **fields)

    def training(self) -> Job:
        wanted = tiny(self.method.task).TRAINING | steps_of(self.method.Parameters) | {"validate_every": 1}
        return self.job(
            "train", method=self.method.name, parameters=accepted(self.method, wanted), dataset=str(self.dataset)
        )

    def applying(self) -> dict:
        wanted = tiny(self.method.task).APPLYING | steps_of(self.method.ApplyParameters)
        return {name: value for name, value in wanted.items() if name in names(self.method.ApplyParameters)}

    def case(self) -> Case:
        (case, *_) = load_dataset(self.dataset, registry.task(self.method.task)).test
        return case

    def item(self, folder: Path, **inputs: Source) -> ApplyItem:
        """Its test case, with some inputs replaced, and a file for the task's first output."""
        task = registry.task(self.method.task)
        applied = {slot.name for slot in task.applied}
        known = {name: source for name, source in self.case().inputs.items() if name in applied}
        output = folder / f"output{self.method.output_endings[0]}"
        return ApplyItem(known | inputs, {task.outputs[0].name: str(output)})


def names(parameters: type) -> set[str]:
    return {info.name for info in describe(parameters)}


def steps_of(parameters: type) -> dict[str, int]:
    """Two steps for every stage."""
    return {name: STEPS for name in names(parameters) if name == "steps" or name.endswith("_steps")}


def accepted(method: type[Method], wanted: dict) -> dict:
    """The values that the method has a parameter for, and accepts together with the previous ones."""
    values = {}
    for name, value in wanted.items():
        if name in names(method.Parameters):
            try:
                method(from_mapping(method.Parameters, values | {name: value}))
            except UserError:
                continue
            values[name] = value
    return values


def weights(run: Path) -> dict:
    """Tensors by name; a model of several networks has a dictionary for each."""
    import torch

    def flat(content: dict, before: str = "") -> dict:
        found = {}
        for name, value in content.items():
            found |= flat(value, f"{before}{name}/") if isinstance(value, dict) else {f"{before}{name}": value}
        return found

    return flat(torch.load(run / "model" / "models" / "model.pt", weights_only=True))


@pytest.fixture(scope="module", params=METHODS, ids=lambda found: "-".join(found))
def subject(request, shared, tmp_path_factory) -> Subject:
    task, name = request.param
    method = get(task, name)
    made = Subject(method, shared(f"tiny_{task}", tiny(task).write_dataset), None)
    if not method.trainable:
        return made
    folder = tmp_path_factory.mktemp(f"{task}_{name}") / "run"
    code, events = run_job(folder, made.training())
    assert code == 0, events[-1]
    return Subject(method, made.dataset, folder)


@pytest.fixture
def trained(subject) -> Subject:
    if subject.run is None:
        pytest.skip(f"{subject.method.title} is applied without a training")
    return subject


def test_the_model_is_saved_and_opened(trained):
    from MedDeepLib.bundles.model import open_model

    events = JobFolder(trained.run).events()
    stages = {event["stage"]: event["step"] for event in events if event["event"] == "metrics"}
    assert all(step == STEPS for step in stages.values()), stages
    model = open_model(trained.run, trained.method.task)
    method = model.make_method()
    assert type(method) is trained.method
    used = json.loads((trained.run / "parameters.json").read_text(encoding="utf-8"))["used"]
    assert json.loads(json.dumps(to_mapping(method.parameters))) == used
    assert model.load_weights()


def test_stopped_after_one_step_it_resumes_to_the_same_weights(trained, tmp_path, monkeypatch):
    import torch
    from MedDeepLib.worker import process

    folder = JobFolder.create(tmp_path / "run", trained.training())

    def after_a_step(self) -> bool:
        return any(event["event"] == "metrics" and event["step"] >= 1 for event in folder.events())

    with monkeypatch.context() as patch:
        patch.setattr(process.StopRequest, "__call__", after_a_step)
        code = run_worker(folder.path)
    if any(event["event"] == "metrics" for event in folder.events()):  # else it has no steps
        assert code == 130 and folder.state() is State.STOPPED and folder.has_checkpoint()
        folder.forget_worker()  # this process is still alive
        code = run_worker(folder.path)
    assert code == 0, folder.events()[-1]
    resumed, undisturbed = weights(folder.path), weights(trained.run)
    assert resumed.keys() == undisturbed.keys() and resumed
    different = [name for name in resumed if not torch.equal(resumed[name], undisturbed[name])]
    assert not different, "something that changes while it trains is not part of the checkpoint"


def test_it_is_applied_and_says_something_of_the_result(subject, tmp_path):
    item = subject.item(tmp_path)
    job = subject.job("apply", model=subject.model, parameters=subject.applying(), items=(item,))
    code, events = run_job(tmp_path / "apply", job)
    assert code == 0, events[-1]
    assert Path(item.output).stat().st_size > 0
    (output,) = JobFolder(tmp_path / "apply").result()["outputs"]
    assert output["summary"] and json.loads(json.dumps(output["summary"])) == output["summary"]


def test_it_is_evaluated(trained, tmp_path):
    evaluation = registry.task(trained.method.task).evaluation
    job = trained.job("evaluate", model=trained.model, parameters=trained.applying(), dataset=str(trained.dataset))
    code, events = run_job(tmp_path / "evaluate", job)
    assert code == 0, events[-1]
    result = JobFolder(tmp_path / "evaluate").result()
    with Path(result["report"]).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and set(evaluation.metrics) & set(rows[0]), "none of the task's metrics"
    numbers = [float(row[name]) for row in rows for name in evaluation.metrics if row.get(name)]
    assert numbers and all(math.isfinite(number) for number in numbers)
    assert result["headline"]


def test_another_number_of_channels_is_refused_in_a_sentence(subject, tmp_path):
    from MedDeepLib.bundles.model import open_model

    task, case = registry.task(subject.method.task), subject.case()
    inputs = task.applied
    if task.any_form:
        inputs = open_model(subject.model, task.name).inputs
    many = [slot.name for slot in inputs if slot.kind == "image" and slot.many and slot.name in case.inputs]
    if not many:
        pytest.skip(f"The inputs of '{subject.method.name}' have no channels")
    doubled = Source("image", case.inputs[many[0]].files * 2)
    item = subject.item(tmp_path, **{many[0]: doubled})
    job = subject.job("apply", model=subject.model, parameters=subject.applying(), items=(item,))
    code, events = run_job(tmp_path / "apply", job)
    assert code == 2, "failed unexpectedly"
    sentence = failure(events)
    assert sentence.endswith(".") and "unexpectedly" not in sentence
    assert "channel" in sentence or "2" in sentence, sentence
    assert not Path(item.output).exists()
