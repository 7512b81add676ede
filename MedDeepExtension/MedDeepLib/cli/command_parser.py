"""The command lines of the batch scripts: actions, arguments and help."""

from __future__ import annotations

import argparse

from MedDeepLib.bundles.model import released_models
from MedDeepLib.cli.slot_arguments import SlotArguments
from MedDeepLib.core import Task, methods, registry
from MedDeepLib.jobs.job import BY_SITE

_COHORTS = (
    "Apply a model. The cases of {flag} are processed by one worker that loads the model once.\n"
    "The hundreds of cases of --inputs are a cohort: they are distributed to several processes of this\n"
    "computer, or to the workers of a dask scheduler. Finished cases are never computed again, so a\n"
    "cohort that was stopped, or whose list has grown, continues when the same command is given again."
)
_EXIT_CODES = "Exit codes: 0 done, 2 bad usage or input, 3 failed, 130 stopped (Ctrl-C saves and stops; twice ends)."

_COHORT_HELP = """Cohorts:
  The list has {columns}; paths are relative to the list.
  The columns case (name of the result) and patient are optional.{folders}
  summary.csv gives the state of every case and the reason; a bad case does not affect the others.
  Several computers: 'dask scheduler' on one of them, 'dask worker tcp://HOST:8786 --nthreads 1' on each, with
  MedDeepExtension on the PYTHONPATH, and images, model and results on a drive that all mount under the same path."""


def make_parser(task: str) -> argparse.ArgumentParser:
    """The parser of the script of ``task``; see :func:`MedDeepLib.cli.command_line.main`."""
    script = f"{task}.py"
    parser = argparse.ArgumentParser(
        prog=script,
        description=f"{registry.task(task).title}: train, apply and evaluate networks on your own data. "
        "Research use only.",
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
        f"  {script} train --resume runs/first\n"
        f"  {script} train --repeat runs/first --output runs/again\n\n{_EXIT_CODES}",
    )
    _add_training(train, "training")
    train.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="NUMBER",
        help="train in several processes, each on a GPU of its own, or all on the CPU (default: one for each device "
        "that --device selects); the batch size applies to each of them",
    )
    train.add_argument(
        "--prepare",
        action="store_true",
        help="make the run folder only, to train on several computers: see MedDeepExtension/Scripts/train_rank.py",
    )
    train.add_argument(
        "--repeat",
        metavar="RUN",
        help="train again exactly as RUN was trained, into --output, and say whether the weights are the same; "
        "--dataset says where the data are now, if they have moved",
    )

    plan = actions.add_parser(
        "plan",
        help="show what a training chooses for a dataset, and whether it fits",
        description="Analyse a dataset and report what a training on it chooses, why, and whether it fits into the "
        "device's memory. Nothing is trained, and nothing is written.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Methods:\n{_method_list(task)}\n\nExample:\n"
        f"  {script} plan --dataset data.json --method unet --set memory=16\n\n{_EXIT_CODES}",
    )
    plan.add_argument("--dataset", required=True, help="JSON or CSV list, or a folder with images/ and labels/")
    plan.add_argument("--method", required=True, help="see the list below")
    _add_settings(plan, "a parameter of the method that you choose yourself; may be repeated")
    _add_resources(plan)

    crossvalidate = actions.add_parser(
        "crossvalidate",
        help="evaluate a method on every case of a dataset, each with a network that has not seen its patient",
        description="Train once for every fold of the patients, or for every site, on all others, and evaluate on the "
        "cases left out. The run folder gets a table of all cases with a summary and 95 % intervals over patients, a "
        "table for each fold and each site, and a run with a model for each fold. The test cases of the dataset are "
        "not used; its training and validation cases are dealt to the folds.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Methods:\n{_method_list(task)}\n\nExamples:\n"
        f"  {script} crossvalidate --dataset data.json --method unet --folds 5 --output runs/five\n"
        f"  {script} crossvalidate --dataset data.json --method unet --by-site --output runs/sites\n"
        f"  {script} crossvalidate --resume runs/five\n\n{_EXIT_CODES}",
    )
    _add_training(crossvalidate, "cross-validation")
    crossvalidate.set_defaults(repeat=None, processes=0, prepare=False)
    folds = crossvalidate.add_mutually_exclusive_group()
    folds.add_argument("--folds", metavar="NUMBER", help="number of folds, split by patient (default 5)")
    folds.add_argument(
        "--by-site",
        action="store_const",
        const=BY_SITE,
        dest="folds",
        help="leave out one site at a time: how well the method works in a new centre",
    )

    arguments = SlotArguments(registry.task(task))
    apply = actions.add_parser(
        "apply",
        help="apply a trained model to one case, or to hundreds",
        description=_COHORTS.format(flag=arguments.needed[0]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Examples:\n{_apply_examples(registry.task(task), arguments)}\n\n{_EXIT_CODES}",
    )
    _add_model(apply, task)
    arguments.add_to(apply)
    _add_cohort(apply)
    _add_settings(apply, "an option of the application; see 'methods NAME'")
    _add_profile(apply)
    _add_resources(apply)

    evaluate = actions.add_parser(
        "evaluate",
        help="evaluate a model on the test cases of a dataset",
        description="Apply a model to the test cases of a dataset and write metrics per case and structure; a summary "
        "with means and 95 % intervals over patients is written beside it.",
        epilog=_EXIT_CODES,
    )
    _add_model(evaluate, task)
    evaluate.add_argument("--dataset", required=True, help="JSON or CSV list with test cases")
    evaluate.add_argument("--output", required=True, metavar="CSV", help="the table to write")
    _add_settings(evaluate, "an option of the application; see 'methods NAME'")
    _add_profile(evaluate)
    _add_resources(evaluate, seed=True)

    listing = actions.add_parser("methods", help="list the methods, or explain the parameters of one")
    listing.add_argument("name", nargs="?", metavar="NAME", help="a method")
    return parser


def _add_training(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--dataset", help="JSON or CSV list, or a folder with images/ and labels/ (required)")
    parser.add_argument("--method", help="see the list below (required); 'methods NAME' explains its parameters")
    _add_settings(parser, "a parameter of the method; may be repeated")
    _add_profile(parser)
    parser.add_argument("--output", metavar="RUN", help="the run folder to make")
    parser.add_argument("--resume", metavar="RUN", help=f"resume a {name} that was stopped or died")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="on a GPU: compute so that the training can be repeated to the last bit, which takes longer (a CPU "
        "always does)",
    )
    _add_resources(parser, seed=True)


def _apply_examples(task: Task, arguments: SlotArguments) -> str:
    script, case = f"{task.name}.py apply --model", arguments.example()
    lines = [f"{script} runs/first {case}"]
    optional = [slot for slot in task.outputs[1:] if not slot.made_from]
    if optional:
        lines.append(f"{script} runs/first {case} {arguments.output_flag(optional[0])} {optional[0].name}.nrrd")
    if arguments.single:
        ending = task.output_ending
        lines += [
            f"{script} runs/first --input a.nrrd b.nrrd dicom_folder --output results/",
            f"{script} two_channels --input t1.nrrd t2.nrrd --output a{ending} "
            f"--input u1.nrrd u2.nrrd --output b{ending}",
            f"{script} runs/first --inputs scans/ --output-dir results --workers 4",
        ]
    lines += [
        f"{script} runs/first --inputs list.csv --output-dir results",
        f"{script} runs/first --inputs list.csv --output-dir results --scheduler tcp://10.0.0.1:8786",
    ]
    return "\n".join(f"  {line}" for line in lines) + f"\n\n{_cohort_help(task, arguments)}"


def _cohort_help(task: Task, arguments: SlotArguments) -> str:
    columns, optional = ([slot.name for slot in task.applied if slot.required is r] for r in (True, False))
    named = f"the column{'s' if len(columns) > 1 else ''} {', '.join(columns)}"
    named += f", and optionally {', '.join(optional)}" if optional else ""
    several = next((slot.name for slot in task.applied if slot.many), "")
    if several:
        named += f";\n  {several}2, {several}3, ... for a model with several channels"
    folders = ""
    if arguments.single:
        folders = (
            " Of a folder, all images and folders of DICOM files are\n  taken; several channels are named "
            "a_0000.nii.gz, a_0001.nii.gz, ... there."
        )
    return _COHORT_HELP.format(columns=named, folders=folders)


def _add_cohort(parser: argparse.ArgumentParser) -> None:
    cohort = parser.add_argument_group("cohorts")
    cohort.add_argument("--inputs", metavar="LIST", help="a CSV list, or a folder of images (see below)")
    cohort.add_argument("--output-dir", metavar="FOLDER", help="for the results of --inputs and their summary.csv")
    cohort.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="of a dask scheduler with workers on one or many computers, e.g. tcp://10.0.0.1:8786 (default: this "
        "computer)",
    )
    cohort.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="NUMBER",
        help="processes of this computer (default: one for each free GPU, or as many as CPU and memory allow)",
    )


def _add_model(parser: argparse.ArgumentParser, task: str) -> None:
    released = ", ".join(released_models(task))
    untrained = ", ".join(name for name, method in methods(task).items() if method.needs_no_model)
    parser.add_argument(
        "--model",
        required=True,
        help="run folder, model folder, MONAI bundle (folder or zip file), or name of a released model"
        + (f" ({released})" if released else "")
        + (f"; or a method that needs no training ({untrained})" if untrained else ""),
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let a bundle from elsewhere run its own code, from now on until its files change",
    )


def _add_settings(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help=text)


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile",
        action="store_true",
        help="record what torch computes in the first seconds of work, as trace.json.gz in the run folder",
    )


def _add_resources(parser: argparse.ArgumentParser, seed: bool = False) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        help="auto, cpu, cuda:0, cuda:1, ..., mps, or for a training all: every GPU (default auto)",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads to compute with (default: leaves Slicer usable)"
    )
    if seed:
        parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (default 0)")


def _method_list(task: str) -> str:
    return "\n".join(f"  {name:12} {method.summary}" for name, method in methods(task).items())
