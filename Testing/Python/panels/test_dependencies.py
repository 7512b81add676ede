"""Missing packages: offered for installation when a job is started, explained when they are not installed."""

from __future__ import annotations

import sys
import types

import pytest
from MedDeepLib.errors import UserError


@pytest.fixture
def dependencies(host):
    from MedDeepLib.panels import dependencies
    from slicer import packaging

    packaging.install_requests.clear()
    return dependencies


@pytest.fixture
def user_mode(host):
    """Not in testing mode, so that dialogs are shown; the host's answers reply to them."""
    host.start(testing=False)
    yield host
    host.start(testing=True)


def missing_package(dependencies, monkeypatch, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("numpy>=1\nno-such-package-meddeep>=2.0\n", encoding="utf-8")
    monkeypatch.setattr(dependencies, "REQUIREMENTS_FILE", file)


def test_with_everything_installed_nothing_is_asked_and_torch_is_not_imported(dependencies):
    had_torch = "torch" in sys.modules
    dependencies.ensure_packages()
    assert ("torch" in sys.modules) == had_torch


def test_the_requirements_file_is_there(dependencies):
    assert dependencies.REQUIREMENTS_FILE.is_file()


def test_a_user_who_declines_is_told_what_to_do(dependencies, monkeypatch, tmp_path, user_mode):
    import qt

    missing_package(dependencies, monkeypatch, tmp_path)
    with user_mode.answers(qt.QMessageBox.Cancel), pytest.raises(UserError, match="were not installed"):
        dependencies.ensure_packages()


def test_pip_gets_only_what_is_missing_and_never_replaces_slicers_own(dependencies, monkeypatch, tmp_path, user_mode):
    import qt
    from slicer import packaging

    missing_package(dependencies, monkeypatch, tmp_path)
    # The stand-in notes the request without installing anything, so the package is missing still.
    with user_mode.answers(qt.QMessageBox.Ok), pytest.raises(UserError, match="no-such-package-meddeep"):
        dependencies.ensure_packages()
    (request,) = packaging.install_requests
    assert request.requirements == ("no-such-package-meddeep>=2.0",)
    assert set(request.skip_packages) == {"torch", "numpy", "SimpleITK"}
    assert request.requester == "MedDeepExtension"


def test_without_the_pytorch_extension_it_is_named(dependencies, monkeypatch):
    monkeypatch.setattr(dependencies, "_TORCH", "no-such-torch>=2.4")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(UserError, match="install the extension 'PyTorch'"):
        dependencies.ensure_packages()


def test_torch_comes_from_the_pytorch_extension(dependencies, monkeypatch):
    calls = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            calls.append((askConfirmation, forceComputationBackend, torchVersionRequirement))

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    monkeypatch.setattr(dependencies, "_TORCH", "torch>=99")
    with pytest.raises(UserError, match="PyTorch was not installed"):
        dependencies.ensure_packages()
    assert calls == [(True, None, ">=99")]


def test_an_optional_package_is_installed_only_when_the_user_agrees(dependencies, monkeypatch, tmp_path, user_mode):
    import qt
    from slicer import packaging

    file = tmp_path / "requirements-optional.txt"
    file.write_text("other>=1\nno-such-package-meddeep>=2.0\n", encoding="utf-8")
    monkeypatch.setattr(dependencies, "OPTIONAL_REQUIREMENTS_FILE", file)
    with user_mode.answers(qt.QMessageBox.Cancel):
        assert not dependencies.offer_package("no-such-package-meddeep")
    assert not packaging.install_requests
    with user_mode.answers(qt.QMessageBox.Ok):
        assert not dependencies.offer_package("no-such-package-meddeep")  # the stand-in installs nothing
    (request,) = packaging.install_requests
    assert request.requirements == ("no-such-package-meddeep>=2.0",)
    assert {"torch", "numpy", "openvino-telemetry"} <= set(request.skip_packages)


def test_what_can_be_offered_is_listed(dependencies):
    from slicer import packaging

    assert "openvino" in {item.name for item in packaging.load_requirements(dependencies.OPTIONAL_REQUIREMENTS_FILE)}
