"""Imports and exports models: copied completely or not at all, and inspected before use.

folder = import_bundle(Path("spleen.zip"), models_folder)
export_bundle(folder, Path("mine.zip"))
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

from MedDeepLib.bundles import archive
from MedDeepLib.bundles.archive import Progress
from MedDeepLib.bundles.foreign.inspection import findings_in, read_bundle
from MedDeepLib.bundles.foreign.trust import content_hash
from MedDeepLib.bundles.foreign.weights import check_large_files
from MedDeepLib.bundles.layout import INFERENCE, METADATA, SCRIPT, WEIGHTS
from MedDeepLib.bundles.metadata import SCHEMA
from MedDeepLib.bundles.model import Model, open_model
from MedDeepLib.bundles.saving import write_json_file
from MedDeepLib.data.fingerprints import file_hash
from MedDeepLib.errors import CannotWrite, UserError

ARCHIVES = (".zip", ".ts")


def import_bundle(source: str | Path, models_folder: Path, progress: Progress = lambda done, total: None) -> Path:
    """Copy a model into its own folder below ``models_folder``; returns that folder, which may exist already.

    Takes the folder of a model or of a run, a zip file, or a TorchScript file with its metadata inside. Nothing of the
    bundle is run. Takes as long as copying: call it in a separate thread.

    Raises UserError when it contains no usable model, or unexpected content; CannotWrite when the disk is full.
    """
    source = Path(source)
    part = models_folder / f".part-{uuid.uuid4().hex[:12]}"
    try:
        root = _fetch(source, part, progress)
        _check_own_configuration(open_model(root, task_of(root)))
        _check_files(root)
        name = _folder_name(source)
        existing = _same_one(models_folder, name, root)
        if existing is not None:
            return existing
        target = _free_name(models_folder, name)
        os.replace(root, target)
        return target
    except UserError as error:  # it names the temporary copy instead of the source
        error.args = (str(error).replace(str(part), str(source)),)
        raise
    except OSError as error:
        raise CannotWrite(f"{source} could not be imported into {models_folder} ({error}): free some space.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def export_bundle(folder: Path, target: str | Path, progress: Progress = lambda done, total: None) -> Path:
    """Write a model as a .zip file or a folder, for users of MONAI; returns ``target``.

    Older models that are not complete bundles are completed. Raises UserError when there is no model in ``folder``, the
    target exists, or it cannot be written.
    """
    folder, target = Path(folder), Path(target)
    if not (folder / METADATA).is_file() and (folder / "model" / METADATA).is_file():
        folder = folder / "model"
    if target.exists() and (target.is_dir() or target.suffix != ".zip"):
        raise UserError(f"{target} already exists: give the exported model another name.")
    model = open_model(folder, task_of(folder))
    _check_own_configuration(model)
    part = target.with_name(f".part-{uuid.uuid4().hex[:12]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        archive.copy(folder, part / "bundle", progress)
        _complete(model, part / "bundle")
        if target.suffix == ".zip":
            archive.pack(part / "bundle", part / "bundle.zip", target.stem)
            with zipfile.ZipFile(part / "bundle.zip") as content:
                damaged = content.testzip()
            if damaged:
                raise OSError(f"{damaged} was not written correctly")
            os.replace(part / "bundle.zip", target)
        else:
            os.replace(part / "bundle", target)
        return target
    except OSError as error:
        raise CannotWrite(
            f"The model could not be written to {target} ({error}): free some space, or choose another."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def as_folder(reference: str) -> Iterator[str]:
    """A model's reference as a folder or name; an archive is unpacked for the duration of the block."""
    path = Path(reference)
    if not (path.is_file() and path.suffix in ARCHIVES):
        yield reference
        return
    with tempfile.TemporaryDirectory(prefix="meddeep-") as temporary:
        root = _fetch(path, Path(temporary) / "bundle", lambda done, total: None)
        _check_files(root)
        yield str(root)


def task_of(folder: Path) -> str:
    """The task of the model in a folder. Raises UserError when there is no usable one."""
    try:
        content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        own = content.get("meddeep")
        if own is not None:
            return str(own["task"])
    except FileNotFoundError:
        raise UserError(f"{folder} contains no model: its {METADATA} is missing.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"The model {folder} is damaged: its {METADATA} cannot be read.") from None
    return read_bundle(folder).task


def _fetch(source: Path, part: Path, progress: Progress) -> Path:
    """Bring the source below ``part`` and find the bundle in it."""
    if source.is_dir():
        inner = source / "model"
        wanted = inner if not (source / METADATA).is_file() and (inner / METADATA).is_file() else source
        if not (wanted / METADATA).is_file():
            raise UserError(f"{source} contains no model: its {METADATA} is missing.")
        archive.copy(wanted, part, progress)
        if content_hash(wanted) != content_hash(part):
            raise UserError(f"{source} changed while it was copied, or the copy went wrong: import it again.")
        return part
    if not source.is_file():
        raise UserError(f"{source} does not exist: choose the folder or the archive of a model.")
    if not zipfile.is_zipfile(source):
        raise UserError(f"{source} is not a zip file: choose the folder or the archive of a model.")
    archive.unpack(source, part, progress)
    candidates = [part, *(path for path in sorted(part.iterdir()) if path.is_dir())]
    for root in candidates:
        if (root / METADATA).is_file():
            return root
        if (root / "extra" / METADATA.name).is_file():
            return _from_torchscript(source, root)
    raise UserError(f"The archive {source} contains no model: its {METADATA} is missing.")


def _from_torchscript(source: Path, root: Path) -> Path:
    """A bundle's layout from a TorchScript file, which has its configurations in a separate folder."""
    bundle = root / "bundle"
    for name in (METADATA.parent, SCRIPT.parent):
        (bundle / name).mkdir(parents=True)
    for file in (root / "extra").iterdir():
        if file.suffix in (".json", ".yaml", ".yml"):
            shutil.copyfile(file, bundle / METADATA.parent / file.name)
    shutil.copyfile(source, bundle / SCRIPT)
    return bundle


def _check_files(root: Path) -> None:
    """Compare the files with the checksums that the bundle itself lists."""
    check_large_files(root)
    if not any((root / WEIGHTS.parent).glob("*")):
        raise UserError(f"The model {root} is not complete, {WEIGHTS.as_posix()} is missing: copy it again.")
    own = json.loads((root / METADATA).read_text(encoding="utf-8")).get("meddeep")
    listed = own.get("files", {}) if isinstance(own, dict) else {}
    for name, expected in listed.items() if isinstance(listed, dict) else ():
        file = root / name
        if name not in (WEIGHTS.as_posix(), SCRIPT.as_posix()):
            continue
        if not file.is_file():
            raise UserError(f"The model {root} is not complete, {name} is missing: copy it again.")
        if file_hash(file) != expected:
            raise UserError(f"{file} is damaged or was changed since the model was made: copy the model again.")


def _check_own_configuration(model: Model) -> None:
    """Check that a model that claims to be trained here asks for nothing beyond what our models use.

    Its configuration is not run here, but MONAI's own command line would run it.
    """
    findings = () if model.is_foreign else findings_in(model.folder)
    if findings:
        raise UserError(
            f"The model {model.folder} was changed after it was trained: {findings[0].in_words()}. Do not use it, and "
            "get it again from its author."
        )


def _complete(model: Model, folder: Path) -> None:
    """Add what older models lack: MONAI's required entries and an inference.json."""
    if model.is_foreign:
        return
    content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    content.setdefault("required_packages_version", {})
    content.setdefault("schema", SCHEMA)
    write_json_file(folder / METADATA, content)
    if not (folder / INFERENCE).exists():
        inference = model.make_method().inference_config(model.metadata)
        if inference:
            write_json_file(folder / INFERENCE, inference)


def _folder_name(source: Path) -> str:
    name = source.stem if source.is_file() else source.name
    if source.is_dir() and name == "model":
        name = source.resolve().parent.name  # the name of the run that made it
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "model"


def _same_one(models_folder: Path, name: str, root: Path) -> Path | None:
    """A model imported earlier under this name with the same files."""
    for existing in sorted(models_folder.glob(f"{name}*/")):
        if _size(existing) == _size(root) and content_hash(existing) == content_hash(root):
            return existing
    return None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in archive.files_below(folder))


def _free_name(models_folder: Path, name: str) -> Path:
    candidates = [models_folder / name, *(models_folder / f"{name}_{number}" for number in range(2, 1000))]
    return next(path for path in candidates if not path.exists())
