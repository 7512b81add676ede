"""The script ``models.py``: import, export, show, trust and delete models. Panels run it as a separate process.

Copying takes a while, and a thread inside Slicer would not run reliably. With ``--json`` every line is one JSON object:
progress (``done``, ``total``), at the end ``path`` or ``error``.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.foreign.inspection import read_bundle
from MedDeepLib.bundles.foreign.trust import trust, withdraw
from MedDeepLib.bundles.model import Model, models_below, open_model
from MedDeepLib.bundles.transfer import export_bundle, import_bundle, task_of
from MedDeepLib.cli.devices_command import table
from MedDeepLib.core import tasks
from MedDeepLib.errors import EXIT_STOPPED, UserError
from MedDeepLib.jobs.disk import delete
from MedDeepLib.jobs.runs import models_folder, runs_folder

_REPORT_SECONDS = 0.2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad usage or input, 130 stopped."""
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    options = _parser().parse_args(arguments)
    models = Path(options.models).expanduser() if options.models else models_folder(runs_folder())
    report = _Report(options.json)
    actions = {"list": _list, "import": _import, "export": _export, "show": _show, "trust": _trust, "delete": _delete}
    try:
        actions[options.action](options, models, report)
        return 0
    except UserError as error:
        report.fail(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_STOPPED


def _interrupt(*_arguments: Any) -> None:
    raise KeyboardInterrupt


class _Report:
    """Prints progress, result and errors, as text or as JSON."""

    def __init__(self, as_json: bool):
        self._as_json = as_json
        self._said = 0.0

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._as_json and (now - self._said > _REPORT_SECONDS or done == total):
            self._said = now
            self._line({"done": done, "total": total})

    def done(self, sentence: str, path: Path) -> None:
        if self._as_json:
            self._line({"path": str(path)})
        else:
            print(sentence)

    def fail(self, error: UserError) -> None:
        if self._as_json:
            self._line({"error": str(error)})
        else:
            print(f"Error: {error}", file=sys.stderr)

    @staticmethod
    def _line(content: dict[str, Any]) -> None:
        print(json.dumps(content), flush=True)


def _list(options: argparse.Namespace, models: Path, report: _Report) -> None:
    found = [(task, model) for task in tasks() for model in models_below(models, task)]
    if not found:
        print(f"No models in {models}.")
        return
    rows = [("Model", "Task", "Title", "Trust")]
    rows += [(model.folder.name, task, model.title, _trust_in_words(model)) for task, model in found]
    print(table(rows))


def _import(options: argparse.Namespace, models: Path, report: _Report) -> None:
    folder = import_bundle(options.source, models, report.progress)
    report.done(f"Imported as {folder}.\n{_described(folder)}", folder)


def _export(options: argparse.Namespace, models: Path, report: _Report) -> None:
    path = export_bundle(_folder(models, options.model), options.target, report.progress)
    report.done(f"Exported to {path}.", path)


def _show(options: argparse.Namespace, models: Path, report: _Report) -> None:
    print(_described(_folder(models, options.model)))


def _trust(options: argparse.Namespace, models: Path, report: _Report) -> None:
    folder = _folder(models, options.model)
    model = open_model(folder, task_of(folder))
    if options.withdraw:
        withdraw(folder)
        report.done(f"'{model.title}' is no longer trusted.", folder)
        return
    trust(folder, model.title)
    report.done(f"'{model.title}' is trusted as it is now.", folder)


def _delete(options: argparse.Namespace, models: Path, report: _Report) -> None:
    folder = _folder(models, options.model)
    if not folder.resolve().is_relative_to(models.resolve()):
        raise UserError(f"{folder} is not in {models}: only imported models are deleted here.")
    if not options.yes and input(f"Delete {folder}? [y/N] ").strip().lower() not in ("y", "yes"):
        return
    for _ in delete(folder):
        pass
    report.done(f"Deleted {folder}.", folder)


def _folder(models: Path, name: str) -> Path:
    """A model by its folder, or by its name among the imported ones."""
    path = Path(name)
    for candidate in (path, path / "model", models / name):
        if (candidate / "configs").is_dir():
            return candidate
    raise UserError(f"There is no model '{name}': give its folder, or a name that 'list' shows.")


def _described(folder: Path) -> str:
    model = open_model(folder, task_of(folder))
    lines = [model.description()]
    if model.is_foreign:
        lines += [f"- {finding.in_words()}" for finding in read_bundle(folder).findings]
        lines.append(f"Trust: {_trust_in_words(model)}.")
    return "\n".join(lines)


def _trust_in_words(model: Model) -> str:
    if not model.metadata.get("findings"):
        return "not needed"
    return "needed, see show" if model.untrusted() else "given"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="models.py",
        description="The models that were imported: MONAI bundles and models of this extension.",
        epilog="Exit codes: 0 done, 2 bad usage or input, 130 stopped.",
    )
    parser.add_argument("--models", metavar="FOLDER", help="the folder with imported models (default: the panels' own)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="print a table of the imported models")
    importer = actions.add_parser("import", help="copy a model from a folder, a zip file or a TorchScript file")
    importer.add_argument("source", metavar="SOURCE")
    exporter = actions.add_parser("export", help="write a model as a MONAI bundle")
    exporter.add_argument("model", metavar="MODEL", help="a run or model folder, or a name from 'list'")
    exporter.add_argument("target", metavar="TARGET", help="a zip file, or a folder to make")
    for name, text in (("show", "what a model needs, finds and runs"), ("trust", "let a model run its own code")):
        action = actions.add_parser(name, help=text)
        action.add_argument("model", metavar="MODEL", help="a model folder, or a name from 'list'")
        if name == "trust":
            action.add_argument("--withdraw", action="store_true", help="revoke the trust")
    deleter = actions.add_parser("delete", help="delete an imported model")
    deleter.add_argument("model", metavar="MODEL")
    deleter.add_argument("--yes", action="store_true", help="do not ask")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # removes the unfinished copy, as Ctrl-C does
    sys.exit(main())
