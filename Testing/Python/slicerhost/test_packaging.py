"""Python packages that a module requires: detected and recorded, never installed."""

from __future__ import annotations

import importlib.metadata

import pytest

MISSING = "a-package-that-nobody-made"


@pytest.fixture
def packaging(host, monkeypatch):
    import slicer.packaging

    monkeypatch.setattr(slicer.packaging, "install_requests", [])
    return slicer.packaging


@pytest.fixture
def outside_testing(packaging):
    import slicer

    slicer.app.setTestingEnabled(False)
    yield
    slicer.app.setTestingEnabled(True)


@pytest.fixture
def answer(outside_testing, monkeypatch):
    """Return a list of the questions asked; set its attribute `value` to the user's answer."""
    import slicer.util

    class Questions(list):
        value = True

    questions = Questions()

    def ask(text, title, detailedText=""):
        questions.append((title, text, detailedText))
        return questions.value

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", ask)
    return questions


def test_requirements_file_without_comments_and_options(packaging, tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# needed\n-c constraints.txt\n\nnumpy>=1.20\nscipy ; python_version > '3'\n", encoding="utf-8")
    requirements = packaging.load_requirements(path)
    assert [requirement.name for requirement in requirements] == ["numpy", "scipy"]
    assert packaging.load_requirements(str(path)) == requirements


def test_dependencies_of_a_pyproject_file(packaging, tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text('[project]\ndependencies = ["numpy>=1.20", "scipy"]\n', encoding="utf-8")
    assert [str(item) for item in packaging.load_pyproject_dependencies(path)] == ["numpy>=1.20", "scipy"]
    path.write_text("[project]\n", encoding="utf-8")
    assert packaging.load_pyproject_dependencies(path) == []
    path.write_text("[tool]\n", encoding="utf-8")
    with pytest.raises(KeyError, match="project"):
        packaging.load_pyproject_dependencies(path)


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        ("numpy", True),
        ("NumPy>=1.0", True),
        ("numpy>=1.0 pytest", True),
        ("numpy<0.1", False),
        (MISSING, False),
        (["numpy", MISSING], False),
        ([], True),
        (f"{MISSING}; python_version < '3'", True),
    ],
)
def test_what_is_installed_is_found_out(packaging, requirements, expected):
    assert packaging.pip_check(requirements) is expected


def test_dependencies_of_an_extra_are_checked(packaging, monkeypatch):
    requires = {"one": ["two; extra == 'more'", "three; extra == 'most'", "four"], "two": ["one[more]"]}
    versions = {"one": "1.0", "two": "2.0"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", requires.get)
    assert packaging.pip_check("one[more]>=1")
    assert not packaging.pip_check("one[most]>=1")
    assert not packaging.pip_check("one[more,most]>=1")


def test_requirements_of_another_type_are_an_error(packaging):
    with pytest.raises(TypeError, match="int"):
        packaging.pip_check(3)


def test_testing_mode_asks_nothing_and_installs_nothing(packaging):
    assert packaging.pip_ensure(["numpy", f"{MISSING}>=2"], constraints="c.txt", requester="Me") is None
    (request,) = packaging.install_requests
    assert request == packaging.InstallRequest("skipped", (f"{MISSING}>=2",), constraints="c.txt", requester="Me")


def test_nothing_is_noted_when_all_is_there(packaging):
    assert packaging.pip_ensure("numpy pytest") is None
    assert packaging.install_requests == []


def test_missing_packages_are_asked_for_after_consent(packaging, answer):
    packaging.pip_ensure(["numpy", MISSING], constraints="c.txt", requester="Me")
    ((title, _, details),) = answer
    assert "Me" in title and MISSING in details and "numpy" not in details
    (request,) = packaging.install_requests
    assert request == packaging.InstallRequest("install", (MISSING,), constraints="c.txt", requester="Me")


def test_declining_is_an_error_and_asks_for_nothing(packaging, answer):
    answer.value = False
    with pytest.raises(RuntimeError, match="declined"):
        packaging.pip_ensure(MISSING)
    assert packaging.install_requests == []


def test_question_can_be_left_out(packaging, answer):
    skipped = packaging.pip_ensure([MISSING, f"{MISSING}-two"], prompt_install=False, skip_packages=[MISSING.upper()])
    assert answer == []
    assert skipped == [MISSING]
    (request,) = packaging.install_requests
    assert request.requirements == (f"{MISSING}-two",)


def test_install_and_uninstall_from_slicer_util(packaging):
    import slicer.util

    slicer.util.pip_install(f"--upgrade '{MISSING}>=1'", no_deps_requirements=["x"])
    slicer.util.pip_uninstall([MISSING])
    first, second = packaging.install_requests
    assert first.requirements == ("--upgrade", f"{MISSING}>=1")
    assert first.no_deps_requirements == ("x",)
    assert (second.command, second.requirements) == ("uninstall", (MISSING,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"requirements": 3}, "text or a list"),
        ({"requirements": "x", "skip_packages": [], "no_deps_requirements": "y"}, "exclusive"),
        ({"requirements": "x", "skip_packages": [], "blocking": False}, "blocking"),
    ],
)
def test_wrong_arguments_of_an_installation_are_an_error(packaging, arguments, message):
    with pytest.raises(ValueError, match=message):
        packaging.pip_install(**arguments)
    assert packaging.install_requests == []


def test_background_installation_calls_back_later(host, packaging):
    codes = []
    packaging.pip_install(MISSING, blocking=False, completedCallback=codes.append)
    assert codes == []
    assert not packaging.isPipInstallInProgress()
    assert host.process_events(5, until=lambda: codes)
    assert codes == [0]
