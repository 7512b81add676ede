"""How a case is known to be done: a record beside the results, found again by what the result depends on.

The address of a result is a hash of the model, the program, the settings that matter and the bytes of the images. A
case is done when there is a record with its address and the output is, byte by byte, the one that was written then.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from MedDeepLib.data.files import stem
from MedDeepLib.data.fingerprints import file_hash
from MedDeepLib.data.sources.image import read_image_info
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import read_json, write_json

OWN_FOLDER = ".cohort"
STOP_FILE = "stop"
LOCK_FILE = "lock"
_VERSION = 1


def address(recipe: Mapping[str, Any], images: Sequence[str]) -> str:
    """The address of a result; ``recipe`` stands for everything but the images, whose fingerprints are given."""
    content = json.dumps({"recipe": recipe, "images": list(images)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class Record:
    """What is known of one output of a cohort."""

    def __init__(self, output: str | Path):
        self.output = Path(output)
        self._folder = self.output.parent / OWN_FOLDER
        self._file = self._folder / "cases" / f"{self.output.name}.json"
        self._content = read_json(self._file)

    def result(self, wanted: str) -> dict[str, Any] | None:
        """What was found when the output was made, if it is still there and ``wanted`` is its address."""
        content = self._content
        if content.get("version") != _VERSION or content.get("address") != wanted:
            return None
        return content["result"] if self._present() == content["output_hash"] else None

    def result_of(self, session: str) -> dict[str, Any] | None:
        """What was found when the output was made, if it is still there and was made in that ``session``."""
        ours = self._content.get("version") == _VERSION and self._content.get("session") == session
        return self.result(self._content["address"]) if ours else None

    @contextlib.contextmanager
    def replaced(self, wanted: str, session: str, result: dict[str, Any]) -> Iterator[Path]:
        """A file to write the output to, which takes its place when the block ends well, and the record with it.

        Whenever the process dies, either the old output or the new one is there, and known for what it is. A file
        that something else has made or changed is not lost: it is renamed, and ``result["warnings"]`` says so.
        """
        parts = self._folder / "parts"
        ending = self.output.name[len(stem(self.output)) :]
        part = parts / f"{uuid.uuid4().hex[:12]}{ending}"
        try:
            parts.mkdir(parents=True, exist_ok=True)
            self._file.parent.mkdir(exist_ok=True)
            yield part
            present = self._present()
            result["warnings"] = [*result.get("warnings", []), *self._keep_what_is_not_ours(present, ending)]
            hashes = {"output_hash": file_hash(part), "replaced_hash": present}
            content = {"version": _VERSION, "address": wanted, "session": session, **hashes, "result": result}
            write_json(self._file, content)
            os.replace(part, self.output)
        except OSError as error:
            raise UserError(
                f"{self.output} cannot be written ({error.strerror or error}): free space or check permissions."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def _present(self) -> str:
        try:
            return file_hash(self.output)
        except OSError:
            return ""

    def _keep_what_is_not_ours(self, present: str, ending: str) -> list[str]:
        if present in ("", self._content.get("output_hash"), self._content.get("replaced_hash")):
            return []
        try:
            read_image_info(self.output)
        except UserError:
            return []  # it is damaged
        number = 1
        while (kept := self.output.with_name(f"{stem(self.output)}.kept{number}{ending}")).exists():
            number += 1
        os.replace(self.output, kept)
        return [f"{self.output.name} was there, made or changed by someone else; it is now {kept.name}."]
