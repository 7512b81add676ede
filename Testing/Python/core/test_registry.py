"""Methods are found automatically: a file dropped into a module's methods package is a method."""

from __future__ import annotations

import os
import sys

import pytest
from MedDeepLib.core import Method, get, methods, registry, tasks
from MedDeepLib.errors import UserError

NEW_METHOD = '''
from dataclasses import dataclass

from MedDeepLib.core import Method, parameter


@dataclass(frozen=True)
class Parameters:
    depth: int = parameter(3, "Levels.", minimum=1)


class Dropped(Method):
    """A method that somebody has dropped here."""

    task, name, title = "guess", "dropped", "Dropped"
    reference, summary = "Somebody 2030", "Dropped here."
    Parameters = ApplyParameters = Parameters
    output_endings = (".json",)

    def stages(self, prepared, context):
        return ()

    def model_metadata(self, prepared, context):
        return {}

    def predictor(self, model, context, options):
        raise NotImplementedError


class Half(Method):
    """Abstract still, so it is no method yet."""
'''


NEW_TASK = '''
from MedDeepLib.core import Task
from MedDeepLib.data.slots import Slot

TASK = Task("guess", "Guessing", (Slot("features", "table"),), (Slot("class", "class"),), ())
'''


@pytest.fixture
def guess_package(tmp_path, monkeypatch):
    """An empty GuessModuleLib in its own folder, and a fresh registry."""
    package = tmp_path / "GuessModuleLib"
    (package / "methods").mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "methods" / "__init__.py").write_text("", encoding="utf-8")
    (package / "task.py").write_text(NEW_TASK, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("MEDDEEP_TASKS", str(tmp_path))
    yield package
    registry._methods.cache_clear()
    registry._tasks.cache_clear()
    for name in [name for name in sys.modules if name.startswith("GuessModuleLib")]:
        del sys.modules[name]


def test_the_segmentation_methods():
    found = methods("segment")
    assert {"unet", "segresnet"} <= set(found)
    assert list(found) == sorted(found)
    assert all(name == method.name and issubclass(method, Method) for name, method in found.items())


def test_a_file_dropped_into_the_package_is_found(guess_package):
    assert "guess" in tasks()
    (guess_package / "methods" / "dropped.py").write_text(NEW_METHOD, encoding="utf-8")
    assert list(methods("guess")) == ["dropped"]
    assert get("guess", "dropped")().parameters.depth == 3


def test_a_task_of_ones_own_is_found_only_where_it_is_named(guess_package, monkeypatch):
    assert registry.task("guess").title == "Guessing"
    assert registry.package_folder("guess") == guess_package
    with pytest.raises(UserError, match="Bundles from elsewhere cannot be applied for the task 'guess'"):
        registry.imported_method("guess")
    monkeypatch.delenv("MEDDEEP_TASKS")
    assert tasks() == ["classify", "detect", "register", "segment"]
    with pytest.raises(UserError, match="There is no task 'guess': the tasks are classify, detect, register, segment"):
        registry.task("guess")


def test_a_task_that_is_broken_is_named(guess_package):
    (guess_package / "task.py").write_text("import nothing_like_it", encoding="utf-8")
    with pytest.raises(UserError, match="task.py cannot be imported .*nothing_like_it.*MEDDEEP_TASKS"):
        tasks()


def test_two_tasks_of_one_name_are_refused(guess_package):
    same = NEW_TASK.replace('"guess"', '"segment"')
    (guess_package / "task.py").write_text(same, encoding="utf-8")
    with pytest.raises(UserError, match="The task 'segment' is declared twice"):
        tasks()


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(UserError, match="There is no task 'knit': the tasks are .*segment"):
        methods("knit")
    with pytest.raises(UserError, match="There is no method 'wnet' .* choose one of .*segresnet.*unet"):
        get("segment", "wnet")


def test_methods_of_ones_own_are_found_in_the_folder_that_is_named(tmp_path, monkeypatch):
    own = NEW_METHOD.replace('"guess", "dropped"', '"segment", "mine"')
    (tmp_path / "mine_of_this_test.py").write_text(own, encoding="utf-8")
    monkeypatch.setenv("MEDDEEP_METHODS", str(tmp_path))
    assert {"mine", "unet"} <= set(methods("segment"))
    assert get("segment", "mine")().parameters.depth == 3
    monkeypatch.delenv("MEDDEEP_METHODS")
    assert "mine" not in methods("segment")


def test_files_of_one_name_in_two_folders_are_two_files(tmp_path, monkeypatch):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        own = NEW_METHOD.replace('"guess", "dropped"', f'"segment", "mine_{folder.name}"')
        (folder / "same_name_of_this_test.py").write_text(own, encoding="utf-8")
        monkeypatch.setenv("MEDDEEP_METHODS", str(folder))
        assert get("segment", f"mine_{folder.name}").__module__.startswith("meddeep_own_methods_same_name")
    monkeypatch.setenv("MEDDEEP_METHODS", os.pathsep.join(map(str, folders)))
    assert {"mine_a", "mine_b"} <= set(methods("segment"))


def test_a_method_of_ones_own_that_is_broken_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_of_this_test.py").write_text("import nothing_like_it", encoding="utf-8")
    monkeypatch.setenv("MEDDEEP_METHODS", str(tmp_path))
    with pytest.raises(UserError, match="broken_of_this_test.py cannot be imported .*nothing_like_it.*MEDDEEP_METHODS"):
        methods("segment")


def test_a_fact_never_replaces_other_metadata():
    from MedDeepLib.core import Prepared

    assert Prepared({"plan": {}, "single_piece": {}}).facts
    with pytest.raises(ValueError, match="may not be called 'channels'"):
        Prepared({"channels": ["T1"]})
