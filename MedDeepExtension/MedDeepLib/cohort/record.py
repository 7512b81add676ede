"""Marks finished cases: a record beside the results, keyed by everything that the result depends on.

The address of a result is a hash of the model, the program, the relevant settings, and the bytes or values of all
inputs. A case is done when there is a record with its address and its outputs are, byte by byte, those that were
written then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from MedDeepLib.data.files import IMAGE_ENDINGS, stem
from MedDeepLib.data.fingerprints import file_hash
from MedDeepLib.data.sources.image import read_image_info
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import read_json, write_json

OWN_FOLDER = ".cohort"
STOP_FILE = "stop"
LOCK_FILE = "lock"
_VERSION = 1


def address(recipe: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """The address of a result; ``recipe`` stands for everything but the inputs, which are fingerprints or values."""
    content = json.dumps({"recipe": recipe, "inputs": inputs}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class Record:
    """The record of one case's outputs; named after the first one."""

    def __init__(self, *outputs: str | Path):
        self.outputs = tuple(map(Path, outputs))
        self._folder = self.outputs[0].parent / OWN_FOLDER
        self._file = self._folder / "cases" / f"{self.outputs[0].name}.json"
        self._content = read_json(self._file)

    def result(self, wanted: str) -> dict[str, Any] | None:
        """The recorded result, if the outputs are still there and ``wanted`` is their address."""
        content = self._content
        if content.get("version") != _VERSION or content.get("address") != wanted:
            return None
        kept = all(_present(output) == self._known(output)[0] for output in self.outputs)
        return content["result"] if kept else None

    def result_of(self, session: str) -> dict[str, Any] | None:
        """The recorded result, if the outputs are still there and were made in this ``session``."""
        ours = self._content.get("version") == _VERSION and self._content.get("session") == session
        return self.result(self._content["address"]) if ours else None

    @contextlib.contextmanager
    def replaced(self, wanted: str, session: str, result: dict[str, Any]) -> Iterator[list[Path]]:
        """Temporary files for the outputs; they are moved into place, with the record, when the block succeeds.

        If the process dies, each output is either the old or the new one, and the record tells which. A
        file made or changed by something else is not lost: it is renamed, and ``result["warnings"]`` says so.
        """
        folder = self._folder / "parts"
        own = uuid.uuid4().hex[:12]
        parts = [folder / f"{own}-{number}{_ending(output)}" for number, output in enumerate(self.outputs)]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file.parent.mkdir(exist_ok=True)
            yield parts
            warnings, hashes = list(result.get("warnings", [])), {}
            for output, part in zip(self.outputs, parts, strict=True):
                present = _present(output)
                if present not in ("", *self._known(output)):
                    warnings += _kept_aside(output)
                hashes[output.name] = [file_hash(part), present]
            result["warnings"] = warnings
            (output_hash, replaced_hash), *_ = hashes.values()
            content = {"version": _VERSION, "address": wanted, "session": session, "result": result}
            content |= {"output_hash": output_hash, "replaced_hash": replaced_hash, "hashes": hashes}
            write_json(self._file, content)
            for output, part in zip(self.outputs, parts, strict=True):
                os.replace(part, output)
        except OSError as error:
            raise UserError(
                f"{self.outputs[0]} cannot be written ({error.strerror or error}): free space or check permissions."
            ) from error
        finally:
            for part in parts:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)

    def _known(self, output: Path) -> tuple[Any, Any]:
        """The hashes of an output that this program wrote, and of the one it replaced."""
        content = self._content
        if "hashes" not in content and output == self.outputs[0]:  # written before a case could have several outputs
            return content.get("output_hash"), content.get("replaced_hash")
        written, replaced = content.get("hashes", {}).get(output.name, (None, None))
        return written, replaced


def _present(output: Path) -> str:
    try:
        return file_hash(output)
    except OSError:
        return ""


def _kept_aside(output: Path) -> list[str]:
    """Rename a file that someone else made or changed, unless it is damaged, and report it."""
    if not output.stat().st_size:
        return []
    if output.name.lower().endswith(IMAGE_ENDINGS):
        try:
            read_image_info(output)
        except UserError:
            return []
    number = 1
    while (kept := output.with_name(f"{_stem(output)}.kept{number}{_ending(output)}")).exists():
        number += 1
    os.replace(output, kept)
    return [f"{output.name} had been made or changed by someone else; it was renamed to {kept.name}."]


def _stem(output: Path) -> str:
    """The name without its ending, which for images may have two parts (.nii.gz)."""
    return stem(output) if stem(output) != output.name else output.stem


def _ending(output: Path) -> str:
    return output.name[len(_stem(output)) :]
