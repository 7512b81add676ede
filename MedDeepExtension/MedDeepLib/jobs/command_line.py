"""The batch scripts: one command line for every task, doing what the panels do with the same jobs.

A module's script is two lines: it makes its folders importable and calls :func:`main` with the name of its task.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from MedDeepLib.bundles.model import open_model, released_models
from MedDeepLib.data.files import stem
from MedDeepLib.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_STOPPED, UserError
from MedDeepLib.jobs.console import watch
from MedDeepLib.jobs.folder import JobFolder
from MedDeepLib.jobs.job import ApplyItem, Job
from MedDeepLib.jobs.launcher import launch
from MedDeepLib.methods import describe, methods
from MedDeepLib.methods.parameters import ParameterInfo

_EXIT_CODES = "Exit codes: 0 done, 2 bad usage or input, 3 failed, 130 stopped (Ctrl-C saves and stops; twice ends)."


def main(task: str, output_ending: str, arguments: list[str] | None = None) -> int:
    """Run the command line of ``task`` and return its exit code.

    Args:
        output_ending: of the files that an application writes when only a folder is given, e.g. ".seg.nrrd".
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # Slicer's own console has no encoding to set
            stream.reconfigure(encoding="utf-8", errors="replace")
    options = _parser(task, output_ending).parse_args(arguments)
    try:
        return {"train": _train, "apply": _apply, "evaluate": _evaluate, "methods": _methods}[options.action](
            options, task, output_ending
        )
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_STOPPED


def _train(options: argparse.Namespace, task: str, _: str) -> int:
    if options.resume:
        unwanted = [flag for flag in ("dataset", "method", "set", "output") if getattr(options, flag)]
        if unwanted:
            raise UserError(f"--resume goes on with the settings of the run: leave out --{unwanted[0]}.")
        folder = JobFolder(options.resume)
        if not folder.job_file.exists():
            raise UserError(f"The folder {options.resume} holds no run: give the folder named by --output before.")
        if folder.job().action != "train":
            raise UserError(f"The job in {options.resume} is not a training: only trainings are resumed.")
        return _run(folder)
    for flag in ("dataset", "method", "output"):
        if not getattr(options, flag):
            choices = f": one of {', '.join(methods(task))}" if flag == "method" else ""
            raise UserError(f"train needs --{flag}{choices} (or --resume RUN).")
    job = Job(
        task=task,
        action="train",
        method=options.method,
        parameters=_settings(options.set),
        dataset=_absolute(options.dataset),
        device=options.device,
        seed=options.seed,
        threads=options.threads,
    )
    folder = JobFolder.create(options.output, job)
    code = _run(folder)
    if code == EXIT_BAD_INPUT and not folder.has_checkpoint():
        folder.discard()
    return code


def _apply(options: argparse.Namespace, task: str, output_ending: str) -> int:
    model = open_model(options.model, task)
    items = _items(options.input, options.output, len(model.channels), output_ending)
    job = Job(
        task=task,
        action="apply",
        parameters=_settings(options.set),
        model=_absolute(model.folder),
        items=items,
        device=options.device,
        threads=options.threads,
    )
    return _run_in_temporary_folder(job)


def _evaluate(options: argparse.Namespace, task: str, _: str) -> int:
    model = open_model(options.model, task)
    job = Job(
        task=task,
        action="evaluate",
        parameters=_settings(options.set),
        model=_absolute(model.folder),
        dataset=_absolute(options.dataset),
        report=_absolute(options.output),
        device=options.device,
        seed=options.seed,
        threads=options.threads,
    )
    return _run_in_temporary_folder(job)


def _methods(options: argparse.Namespace, task: str, _: str) -> int:
    found = methods(task)
    for name, method in found.items():
        if options.name in (None, name):
            print(f"{name}: {method.title}. {method.summary}\n    {method.reference}")
    if options.name is None:
        return 0
    if options.name not in found:
        raise UserError(f"There is no method '{options.name}': choose one of {', '.join(found)}.")
    print("\nParameters for train, as --set NAME=VALUE:")
    _print_parameters(describe(found[options.name].Parameters))
    print("\nParameters for apply and evaluate:")
    _print_parameters(describe(found[options.name].ApplyParameters))
    return 0


def _run(folder: JobFolder) -> int:
    code = watch(launch(folder))
    if code and folder.can_resume():
        print(f"To go on: train --resume {folder.path}")
    return code


def _run_in_temporary_folder(job: Job) -> int:
    """Apply and evaluate leave nothing but their output; after a failure the folder stays for its log."""
    job.validate()
    path = Path(tempfile.mkdtemp(prefix="meddeep-"))
    folder = JobFolder.create(path, job)
    code = watch(launch(folder))
    failures = folder.result().get("failures", [])
    if code == EXIT_FAILED:
        print(f"The log is in {folder.log_file}", file=sys.stderr)
    else:
        shutil.rmtree(path, ignore_errors=True)
    return EXIT_BAD_INPUT if failures else code


def _items(inputs: list[list[str]], outputs: list[str], channels: int, ending: str) -> tuple[ApplyItem, ...]:
    """Cases from the command line: one --input per case, or a list of files for a model with one channel."""
    cases = [[name] for name in inputs[0]] if len(inputs) == 1 and channels == 1 else inputs
    for case in cases:
        if len(case) != channels:
            raise UserError(
                f"The model needs {channels} input channel{'s' if channels > 1 else ''}, but --input names "
                f"{len(case)}: give one file per channel, and --input again for each further case."
            )
    if len(outputs) == len(cases) and not (len(outputs) == 1 and _is_folder(outputs[0])):
        names = outputs
    elif len(outputs) == 1 and _is_folder(outputs[0]):
        names = [str(Path(outputs[0]) / (_case_name(case[0]) + ending)) for case in cases]
    else:
        raise UserError(
            f"There are {len(cases)} inputs and {len(outputs)} outputs: give one --output for each input, or one "
            "folder for all."
        )
    return tuple(
        ApplyItem(tuple(_absolute(name) for name in case), _absolute(output))
        for case, output in zip(cases, names, strict=True)
    )


def _is_folder(name: str) -> bool:
    return os.path.isdir(name) or name.endswith(("/", "\\")) or "." not in Path(name).name


def _case_name(name: str) -> str:
    path = Path(name).absolute()
    # DICOM folders keep their whole name, files lose their ending.
    return path.name if os.path.isdir(path) else stem(path)


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


def _parser(task: str, output_ending: str) -> argparse.ArgumentParser:
    script = f"{task}.py"
    parser = argparse.ArgumentParser(
        prog=script,
        description=f"Train, apply and evaluate networks that {task} images. Research use only.",
        epilog=f"'{script} ACTION --help' says more. {_EXIT_CODES}",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    train = actions.add_parser(
        "train",
        help="train a network on a dataset",
        description="Train a network. The run folder holds the job, its events, its checkpoint and the trained model.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Methods:\n{_method_list(task)}\n\nExamples:\n"
        f"  {script} train --dataset data.json --method unet --set steps=3000 --output runs/first\n"
        f"  {script} train --resume runs/first\n\n{_EXIT_CODES}",
    )
    train.add_argument("--dataset", help="JSON or CSV list, or a folder with images/ and labels/ (required)")
    train.add_argument("--method", help="see the list below (required); 'methods NAME' explains its parameters")
    _add_settings(train, "a parameter of the method; may be given again for others")
    train.add_argument("--output", metavar="RUN", help="the run folder to make")
    train.add_argument("--resume", metavar="RUN", help="go on with a training that was stopped or died")
    _add_resources(train, seed=True)

    apply = actions.add_parser(
        "apply",
        help="apply a trained model to images",
        description="Apply a model. All inputs are done by one worker that loads the model once.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Examples:\n"
        f"  {script} apply --model runs/first --input head.nii.gz --output head{output_ending}\n"
        f"  {script} apply --model runs/first --input a.nrrd b.nrrd dicom_folder --output results/\n"
        f"  {script} apply --model two_channels --input t1.nrrd t2.nrrd --output a{output_ending} "
        f"--input u1.nrrd u2.nrrd --output b{output_ending}\n\n{_EXIT_CODES}",
    )
    _add_model(apply)
    apply.add_argument(
        "--input",
        nargs="+",
        action="append",
        required=True,
        metavar="FILE",
        help="nrrd, nii, nii.gz, mha or a DICOM folder: one per channel of the model; again for each further case "
        "(a model with one channel also takes a list of cases)",
    )
    apply.add_argument(
        "--output",
        action="append",
        required=True,
        metavar="FILE",
        help=f"*{output_ending}, one for each case, or one folder for all",
    )
    _add_settings(apply, "an option of the application; see 'methods NAME'")
    _add_resources(apply)

    evaluate = actions.add_parser(
        "evaluate",
        help="compare a model with the test cases of a dataset",
        description="Apply a model to the test cases of a dataset and write figures per case and structure; a summary "
        "with means and 95 % intervals over patients lies beside it.",
        epilog=_EXIT_CODES,
    )
    _add_model(evaluate)
    evaluate.add_argument("--dataset", required=True, help="JSON or CSV list with test cases")
    evaluate.add_argument("--output", required=True, metavar="CSV", help="the table to write")
    _add_settings(evaluate, "an option of the application; see 'methods NAME'")
    _add_resources(evaluate, seed=True)

    listing = actions.add_parser("methods", help="list the methods, or explain the parameters of one")
    listing.add_argument("name", nargs="?", metavar="NAME", help="a method")
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    released = ", ".join(released_models())
    parser.add_argument(
        "--model",
        required=True,
        help="run folder, model folder, or name of a released model" + (f" ({released})" if released else ""),
    )


def _add_settings(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help=text)


def _add_resources(parser: argparse.ArgumentParser, seed: bool = False) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0, cuda:1, ... or mps (default auto)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads to compute with (default: a share)")
    if seed:
        parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (default 0)")


def _method_list(task: str) -> str:
    return "\n".join(f"  {name:12} {method.summary}" for name, method in methods(task).items())
