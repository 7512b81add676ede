"""Stand-in of slicer.packaging: finds out which Python packages are missing, but never installs any.

Requests of a module are recorded in `install_requests`, where a test can read them; pip is not started
and the network is not used. As in Slicer, `pip_ensure` does nothing at all in testing mode.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import shlex
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

Requirements = str | Requirement | list[str | Requirement]


@dataclasses.dataclass(frozen=True)
class InstallRequest:
    """A request that pip would have received."""

    command: str  # "install", "uninstall", or "skipped" for a pip_ensure in testing mode
    requirements: tuple[str, ...]
    no_deps_requirements: tuple[str, ...] = ()
    constraints: str | None = None
    skip_packages: tuple[str, ...] = ()
    requester: str | None = None


install_requests: list[InstallRequest] = []


def load_requirements(path: str | Path) -> list[Requirement]:
    """Return the requirements in a requirements.txt; comments and lines with pip options are left out."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def load_pyproject_dependencies(path: str | Path) -> list[Requirement]:
    """Return `dependencies` of the [project] table of a pyproject.toml.

    Raises KeyError if the file has no such table.
    """
    content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    if "project" not in content:
        raise KeyError(f"{path} has no [project] table.")
    return [Requirement(line) for line in content["project"].get("dependencies", [])]


def pip_check(req: Requirements) -> bool:
    """Tell whether all requirements, with the dependencies of their extras, are satisfied.

    A requirement whose marker does not hold here counts as satisfied.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    return all(_is_satisfied(requirement, seen) for requirement in _to_requirements(req))


def isPipInstallInProgress() -> bool:
    """Tell whether packages are being installed, which never happens here."""
    return False


def pip_ensure(
    requirements: Requirements,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Record the missing packages as requested, after asking the user.

    In testing mode they are recorded as skipped, without a question. Returns what `pip_install` returns.

    Raises RuntimeError if the user declines.
    """
    missing = [str(item) for item in _to_requirements(requirements) if not pip_check(item)]
    if not missing:
        return None
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info("Testing mode: the packages %s are not installed.", ", ".join(missing))
        _note("skipped", missing, constraints=constraints, skip_packages=skip_packages, requester=requester)
        return None
    if prompt_install and not _user_agrees(missing, requester):
        raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints, skip_packages=skip_packages, requester=requester)


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    parent: Any = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    """Record the requirements as requested. If not blocking, `completedCallback(0)` is called a little later.

    Returns, if `skip_packages` is given, the requirements that it names (Slicer also returns dependencies
    of requirements, which are not known here).

    Raises ValueError for arguments that exclude each other or requirements that are neither text nor list.
    """
    if skip_packages is not None and no_deps_requirements is not None:
        raise ValueError("skip_packages and no_deps_requirements are mutually exclusive: give one of them.")
    if skip_packages is not None and not blocking:
        raise ValueError("skip_packages requires blocking=True.")
    wanted = _to_arguments(requirements)
    skipped = [item for item in wanted if skip_packages and _is_named(item, skip_packages)]
    _note(
        "install",
        [item for item in wanted if item not in skipped],
        no_deps_requirements=tuple(_to_arguments(no_deps_requirements or [])),
        constraints=constraints,
        skip_packages=skip_packages,
        requester=requester,
    )
    if not blocking:
        _complete_later(completedCallback)
    return None if skip_packages is None else skipped


def pip_uninstall(
    requirements: str | list[str],
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    """Record a request to remove the packages."""
    _note("uninstall", _to_arguments(requirements))
    if not blocking:
        _complete_later(completedCallback)


def _to_requirements(requirements: Requirements) -> list[Requirement]:
    if isinstance(requirements, Requirement):
        return [requirements]
    if isinstance(requirements, str):
        try:
            # One requirement may hold spaces, before its marker.
            return [Requirement(requirements)]
        except InvalidRequirement:
            return [Requirement(item) for item in requirements.split()]
    if isinstance(requirements, list):
        return [Requirement(item) if isinstance(item, str) else item for item in requirements]
    raise TypeError(f"Requirements must be text, Requirement or a list, not {type(requirements).__name__}.")


def _to_arguments(requirements: str | list[str]) -> list[str]:
    if isinstance(requirements, str):
        return shlex.split(requirements)
    if isinstance(requirements, list):
        return list(requirements)
    raise ValueError("The requirements of pip must be text or a list of texts.")


def _is_satisfied(requirement: Requirement, seen: set[tuple[str, frozenset[str]]]) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    # Packages can depend on each other in a circle.
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    if key in seen:
        return True
    seen.add(key)
    try:
        installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    if installed not in requirement.specifier:
        return False
    return all(_is_satisfied(dependency, seen) for dependency in _dependencies_of_extras(requirement))


def _dependencies_of_extras(requirement: Requirement) -> Iterable[Requirement]:
    for line in importlib.metadata.requires(requirement.name) or []:
        dependency = Requirement(line)
        marker, dependency.marker = dependency.marker, None
        if marker is None or marker.evaluate({"extra": ""}):
            continue  # needed without the extra, too
        if any(marker.evaluate({"extra": extra}) for extra in requirement.extras):
            yield dependency


def _is_named(requirement: str, names: list[str]) -> bool:
    try:
        name = Requirement(requirement).name
    except InvalidRequirement:
        return False  # an option of pip
    return canonicalize_name(name) in {canonicalize_name(item) for item in names}


def _user_agrees(missing: list[str], requester: str | None) -> bool:
    title = "Install Python Packages" if requester is None else f"{requester} - Install Python Packages"
    question = f"{len(missing)} Python packages need to be installed. Continue?"
    details = "\n".join(f"- {item}" for item in missing)
    return bool(slicer.util.confirmOkCancelDisplay(question, title, detailedText=details))


def _note(
    command: str,
    requirements: Iterable[str],
    *,
    no_deps_requirements: tuple[str, ...] = (),
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    requester: str | None = None,
) -> None:
    request = InstallRequest(
        command=command,
        requirements=tuple(requirements),
        no_deps_requirements=no_deps_requirements,
        constraints=None if constraints is None else str(constraints),
        skip_packages=tuple(skip_packages or ()),
        requester=requester,
    )
    logging.info("Python packages: %s", request)
    install_requests.append(request)


def _complete_later(completedCallback: Callable[[int], None] | None) -> None:
    import qt

    if completedCallback is not None:
        qt.QTimer.singleShot(0, lambda: completedCallback(0))
