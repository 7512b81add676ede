"""The batch scripts: one command line for every task, doing what the panels do with the same jobs.

A module's script is two lines: it makes its folders importable and calls :func:`main` with the name of its task.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from MedDeepLib.bundles.foreign.trust import trust
from MedDeepLib.bundles.model import Model, open_model
from MedDeepLib.bundles.transfer import as_folder
from MedDeepLib.cli.command_parser import make_parser
from MedDeepLib.cli.console import watch
from MedDeepLib.cli.devices_command import table
from MedDeepLib.cli.slot_arguments import SlotArguments, in_a_row
from MedDeepLib.cohort.request import cohort_folder
from MedDeepLib.core import Method, describe, methods, registry
from MedDeepLib.core.parameters import ParameterInfo
from MedDeepLib.errors import EXIT_BAD_INPUT, EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, UserError
from MedDeepLib.evaluation.report import TABLES, readable
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.job import Job
from MedDeepLib.jobs.launcher import launch
from MedDeepLib.jobs.manifest import prepare_repeat

_RESUMED = ("train", "crossvalidate")


def main(task: str, arguments: list[str] | None = None) -> int:
    """Run the command line of ``task`` and return its exit code."""
    streams: tuple[Any, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if hasattr(stream, "reconfigure"):  # Slicer's own console has no encoding to set
            stream.reconfigure(encoding="utf-8", errors="replace")
    options = make_parser(task).parse_args(arguments)
    try:
        return {
            "train": _train,
            "plan": _plan,
            "crossvalidate": _train,
            "apply": _apply,
            "evaluate": _evaluate,
            "methods": _methods,
        }[options.action](options, task)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_STOPPED


def _train(options: argparse.Namespace, task: str) -> int:
    """Train, or cross-validate: the same settings, and both resume from their last checkpoint."""
    action = options.action
    if options.repeat:
        return _repeat(options)
    if options.resume:
        unwanted = [flag for flag in ("dataset", "method", "set", "output", "folds") if getattr(options, flag, None)]
        if unwanted:
            raise UserError(f"--resume continues with the settings of the run: leave out --{unwanted[0]}.")
        folder = JobFolder(options.resume)
        if not folder.job_file.exists():
            raise UserError(f"The folder {options.resume} holds no run: give the folder that was named by --output.")
        begun = folder.job().action
        if begun not in _RESUMED:
            raise UserError(f"The job in {options.resume} is not a training: only trainings are resumed.")
        if begun != action:
            raise UserError(f"The job in {options.resume} was begun with {begun}: continue it with {begun} --resume.")
        return _run(_on_other_devices(folder, options))
    for flag in ("dataset", "method", "output"):
        if not getattr(options, flag):
            choices = f": one of {', '.join(methods(task))}" if flag == "method" else ""
            raise UserError(f"{action} needs --{flag}{choices} (or --resume RUN).")
    job = Job(
        task=task,
        action=action,
        method=options.method,
        parameters=_settings(options.set),
        dataset=_absolute(options.dataset),
        folds=(options.folds or "5") if action == "crossvalidate" else "",
        device=options.device,
        processes=options.processes,
        seed=options.seed,
        threads=options.threads,
        deterministic=options.deterministic,
        profile=options.profile,
    )
    if options.prepare:
        folder = JobFolder.create(options.output, job)
        print(f"Made {folder.path}. Start MedDeepExtension/Scripts/train_rank.py {folder.path} under torchrun now.")
        return EXIT_DONE
    return _run_or_discard(JobFolder.create(options.output, job))


def _on_other_devices(folder: JobFolder, options: argparse.Namespace) -> JobFolder:
    """The run to resume, with the devices and processes that the command line names, if any."""
    changes = {"device": options.device} if options.device != "auto" else {}
    changes |= {"processes": options.processes} if options.processes else {}
    changes |= {"profile": True} if options.profile else {}
    if changes:
        job = replace(folder.job(), **changes)
        job.validate()
        job.save(folder.job_file)
    return folder


def _repeat(options: argparse.Namespace) -> int:
    given = ("resume", "method", "set", "seed", "threads", "deterministic", "processes", "prepare")
    unwanted = [flag for flag in given if getattr(options, flag)] + ["device"] * (options.device != "auto")
    if unwanted:
        raise UserError(f"--repeat trains with the settings of the run: leave out --{unwanted[0]}.")
    if not options.output:
        raise UserError("--repeat needs --output, the run folder to make.")
    dataset = _absolute(options.dataset) if options.dataset else ""
    return _run_or_discard(prepare_repeat(options.repeat, options.output, dataset))


def _plan(options: argparse.Namespace, task: str) -> int:
    job = Job(
        task=task,
        action="plan",
        method=options.method,
        parameters=_settings(options.set),
        dataset=_absolute(options.dataset),
        device=options.device,
        threads=options.threads,
    )
    return _run_in_temporary_folder(job)


def _apply(options: argparse.Namespace, task: str) -> int:
    with as_folder(options.model) as folder:
        return _apply_model(options, _usable_model(folder, task, options.trust))


def _apply_model(options: argparse.Namespace, model: Model) -> int:
    arguments = SlotArguments(registry.task(model.task))
    if options.inputs or options.output_dir:
        return _run_cohort(cohort_folder(_cohort_job(options, model, arguments), options.model))
    items = arguments.items(options, model)
    if options.scheduler or options.workers:
        raise UserError("--scheduler and --workers are for cohorts: name the cases with --inputs and --output-dir.")
    job = Job(
        task=model.task,
        action="apply",
        parameters=_settings(options.set),
        model=model.reference,
        items=items,
        device=options.device,
        threads=options.threads,
        profile=options.profile,
    )
    return _run_in_temporary_folder(job)


def _cohort_job(options: argparse.Namespace, model: Model, arguments: SlotArguments) -> Job:
    if arguments.given(options):
        raise UserError(
            f"A cohort is named by --inputs and --output-dir: leave out {in_a_row(arguments.needed)}, and the like."
        )
    if not options.inputs or not options.output_dir:
        raise UserError("A cohort needs both --inputs and --output-dir.")
    return Job(
        task=model.task,
        action="cohort",
        parameters=_settings(options.set),
        model=model.reference,
        inputs=_absolute(options.inputs),
        output=_absolute(options.output_dir),
        scheduler=options.scheduler,
        workers=options.workers,
        device=options.device,
        threads=options.threads,
    )


def _evaluate(options: argparse.Namespace, task: str) -> int:
    with as_folder(options.model) as folder:
        return _evaluate_model(options, _usable_model(folder, task, options.trust))


def _evaluate_model(options: argparse.Namespace, model: Model) -> int:
    job = Job(
        task=model.task,
        action="evaluate",
        parameters=_settings(options.set),
        model=model.reference,
        dataset=_absolute(options.dataset),
        report=_absolute(options.output),
        device=options.device,
        seed=options.seed,
        threads=options.threads,
        profile=options.profile,
    )
    return _run_in_temporary_folder(job)


def _usable_model(reference: str, task: str, trusted: bool) -> Model:
    """The model. Raises UserError when it needs to run code of its own and is not trusted."""
    model = open_model(reference, task)
    question = model.untrusted(thorough=True)
    if question is not None and not trusted:
        raise question
    if question is not None:
        trust(model.folder, model.title)
    return model


def _methods(options: argparse.Namespace, task: str) -> int:
    found = methods(task)
    if options.name is None:
        for name, method in found.items():
            _print_method(name, method)
        return 0
    try:
        method = found.get(options.name) or open_model(options.name, task).method_class()
    except UserError:
        raise UserError(
            f"There is no method or model '{options.name}': choose one of {', '.join(found)}, or a model."
        ) from None
    _print_method(options.name, method)
    print("\nParameters for train, as --set NAME=VALUE:")
    _print_parameters(describe(method.Parameters))
    print("\nParameters for apply and evaluate:")
    _print_parameters(describe(method.ApplyParameters))
    return 0


def _print_method(name: str, method: type[Method]) -> None:
    print(f"{name}: {method.title}. {method.summary}\n    {method.reference}")


def _run_or_discard(folder: JobFolder) -> int:
    """Run the job; delete its folder if the request was refused."""
    code = _run(folder)
    if code == EXIT_BAD_INPUT and not folder.has_checkpoint():
        folder.discard()
    return code


def _run(folder: JobFolder) -> int:
    code = watch(launch(folder))
    if code and folder.can_resume():
        print(f"To resume: {folder.job().action} --resume {folder.path}")
    _print_tables(folder.result())
    return code


def _run_cohort(folder: JobFolder) -> int:
    code = watch(launch(folder))
    if code == EXIT_BAD_INPUT:  # the request itself was refused
        folder.discard()
    return code or folder.result().get("exit_code", 0)


def _run_in_temporary_folder(job: Job) -> int:
    """Apply and evaluate leave nothing but their output; the folder stays for a failure's log, and for a profile."""
    job.validate()
    path = Path(tempfile.mkdtemp(prefix="meddeep-"))
    folder = JobFolder.create(path, job)
    code = watch(launch(folder))
    _print_tables(folder.result())
    failures = folder.result().get("failures", [])
    if code == EXIT_FAILED:
        print(f"The log is in {folder.log_file}", file=sys.stderr)
    elif not job.profile:
        shutil.rmtree(path, ignore_errors=True)
    return EXIT_BAD_INPUT if failures else code


def _print_tables(result: dict[str, Any]) -> None:
    """The metrics of an evaluation or a cross-validation, means with 95 % intervals; of other jobs nothing."""
    for name in TABLES:
        if name in result:
            print("\n" + table(readable(name, result[name])))


def _absolute(name: str | Path) -> str:
    return str(Path(name).expanduser().absolute())


def _settings(pairs: list[str] | None) -> dict[str, str]:
    settings = {}
    for pair in pairs or []:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UserError(f"--set needs NAME=VALUE, not '{pair}'.")
        settings[key.strip()] = value
    return settings


def _print_parameters(infos: list[ParameterInfo]) -> None:
    for info in infos:
        default = ",".join(map(str, info.default)) if isinstance(info.default, tuple) else info.default
        unit = f" {info.unit}" if info.unit else ""
        choices = f" One of {', '.join(map(str, info.choices))}." if info.choices else ""
        print(f"  {info.name}={default}{unit}\n      {info.help}{choices}")
