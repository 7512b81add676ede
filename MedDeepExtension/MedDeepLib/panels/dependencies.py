"""Python packages that the worker needs: checked when a job is started, never before."""

from __future__ import annotations

import importlib
import logging
import subprocess
from pathlib import Path

from slicer.i18n import tr as _

from MedDeepLib.errors import UserError

REQUIREMENTS_FILE = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
OPTIONAL_REQUIREMENTS_FILE = REQUIREMENTS_FILE.with_name("requirements-optional.txt")
REQUESTER = "MedDeepExtension"
# Slicer brings its own builds of these, and the PyTorch extension chooses the one that fits the GPU.
_NEVER_BY_PIP = ["torch", "numpy", "SimpleITK"]
# Required by packages that work without it: it reports to their maker how they are used.
_REPORTING = ["openvino-telemetry"]
_TORCH = "torch>=2.4"


def ensure_packages() -> None:
    """Install what is missing, after asking the user.

    torch is not imported here: it would stay in the application for the rest of the session.

    Raises:
        UserError: something is still missing; the message gives the remedy.
    """
    try:
        from slicer import packaging
    except ImportError:
        raise UserError(_("This version of 3D Slicer is too old: install Slicer 5.13 or newer.")) from None
    from packaging.requirements import Requirement

    if not packaging.pip_check([Requirement(_TORCH)]):
        _install_torch()
    requirements = packaging.load_requirements(REQUIREMENTS_FILE)
    if packaging.pip_check(requirements):
        return
    try:
        packaging.pip_ensure(requirements, skip_packages=_NEVER_BY_PIP, requester=REQUESTER)
    except RuntimeError:
        raise UserError(
            _("The required Python packages were not installed: start again and agree to the installation.")
        ) from None
    except subprocess.CalledProcessError as error:
        raise UserError(
            _("The Python packages could not be installed ({error}): check the network and start again.").format(
                error=error
            )
        ) from None
    missing = [str(item) for item in requirements if not packaging.pip_check([item])]
    if missing:
        raise UserError(
            _("These Python packages are missing: {names}. Install them and start again.").format(
                names=", ".join(missing)
            )
        )


def offer_package(name: str) -> bool:
    """Install one of the optional packages, after asking the user; whether it is installed.

    A job that would use it runs without it as well, and says so.
    """
    try:
        from slicer import packaging
    except ImportError:
        return False
    requirements = packaging.load_requirements(OPTIONAL_REQUIREMENTS_FILE)
    (requirement,) = [item for item in requirements if item.name == name]
    try:
        packaging.pip_ensure([requirement], skip_packages=[*_NEVER_BY_PIP, *_REPORTING], requester=REQUESTER)
    except RuntimeError:  # declined
        return False
    except subprocess.CalledProcessError as error:
        logging.warning("The package %s could not be installed: %s", name, error)
    return bool(packaging.pip_check([requirement]))


def _install_torch() -> None:
    """Let the PyTorch extension install the build of torch that fits this computer."""
    try:
        utilities = importlib.import_module("PyTorchUtils")
    except ImportError:
        raise UserError(
            _("PyTorch is missing: install the extension 'PyTorch' with the Extensions Manager and restart Slicer.")
        ) from None
    requirement = _TORCH.removeprefix("torch")
    installed = utilities.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=requirement)
    if installed is None:
        raise UserError(_("PyTorch was not installed: start again and agree to the installation."))
