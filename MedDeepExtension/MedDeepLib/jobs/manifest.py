"""``manifest.json``: everything that a training's weights depend on, so that it can be repeated to the last bit.

Written when the training begins, completed when it ends. It holds fingerprints of the files but not their names, and
numbers instead of patients, so it may be published with the model.

:func:`prepare_repeat` makes a new job from a run. Its worker finds the run's manifest beside the job, refuses different
data, warns about a different environment, and reports at the end whether the weights are the same.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedDeepLib import __version__
from MedDeepLib.core import Context, Method, to_mapping
from MedDeepLib.devices.manager import driver_version
from MedDeepLib.errors import UserError
from MedDeepLib.jobs.folder import JobFolder, read_json, write_json
from MedDeepLib.jobs.job import Job
from MedDeepLib.jobs.manifest_data import check_data, data_content

if TYPE_CHECKING:
    import torch

VERSION = 2
READABLE_VERSIONS = (1, 2)
_PRECISION = "automatic precision"
_PACKAGES = ("torch", "monai", "numpy", "pytorch-ignite", "itk", "scipy", "scikit-image")


class Manifest:
    """The manifest of the training that runs now."""

    def __init__(self, folder: JobFolder, content: dict[str, Any], context: Context, original: dict[str, Any]):
        self._folder, self._content, self._context, self._original = folder, content, context, original

    def complete(self, trained: dict[str, dict[str, torch.Tensor]]) -> None:
        """Record the final weights; for a repeated training, report whether they are the same."""
        weights = weights_fingerprint(trained)
        write_json(self._folder.manifest_file, self._content | {"ended": _now(), "weights": weights})
        if not self._original:
            return
        run, identical = self._original["run"], weights == self._original["manifest"]["weights"]
        sentence = f"The weights are identical to the last bit to those of {run}."
        if not identical:
            sentence = f"The weights are not identical to those of {run}."
            if self._context.device.type != "cpu" and not self._content["deterministic"]:
                sentence += " On a GPU, operations are repeatable only when trained with --deterministic."
        self._context.report("message", message=sentence, identical=identical)


def begin_manifest(job: Job, folder: JobFolder, method: Method, context: Context) -> Manifest:
    """Write the manifest of a training that starts or is resumed now; the method must be configured.

    Raises:
        UserError: the data are not those of the original run, or not those the training started with.
        Stopped: the user asked to stop.
    """
    context.report("phase", phase="Checking the data")
    content = {
        "version": VERSION,
        "task": job.task,
        "method": job.method,
        "parameters": to_mapping(method.parameters),
        "seed": context.seed,
        "deterministic": job.deterministic,
        **_environment(method, context.device),
        "data": data_content(context),
        "began": _now(),
        "resumed": [],
        "ended": None,
        "weights": None,
    }
    original = read_json(folder.repeated_file)
    earlier = read_json(folder.manifest_file) if folder.has_checkpoint() else {}
    if earlier:
        check_data(earlier["data"], content["data"], context.dataset, "this training began with")
        changed = differences(earlier, content)
        _warn(changed, "this training began", context)
        content["began"] = earlier.get("began")
        content["resumed"] = [*earlier.get("resumed", []), {"time": _now(), "changed": changed}]
    if original:
        data = original["manifest"]["data"]
        check_data(data, content["data"], context.dataset, f"{original['run']} was trained with")
        _warn(differences(original["manifest"], content), f"{original['run']} was trained", context)
    write_json(folder.manifest_file, content)
    return Manifest(folder, content, context, original)


def prepare_repeat(run: str | Path, output: str | Path, dataset: str = "") -> JobFolder:
    """The folder of a new job that trains again exactly as ``run`` was trained.

    Args:
        dataset: the current location of the same data, if they have moved.

    Raises UserError when the run cannot be repeated or ``output`` is in use.
    """
    original = JobFolder(run)
    if not original.job_file.exists():
        raise UserError(f"The folder {run} holds no run: give the folder of a finished training.")
    job = original.job()
    if job.action != "train":
        raise UserError(f"The job in {run} is not a training: only trainings are repeated.")
    manifest = read_json(original.manifest_file)
    if not manifest:
        raise UserError(f"The run {run} has no manifest.json that can be read: train it again to have one.")
    if manifest.get("version") not in READABLE_VERSIONS:
        raise UserError(f"The manifest of {run} has another version: repeat the run with the program that wrote it.")
    if not manifest["weights"]:
        raise UserError(f"The training in {run} has not finished: resume it before repeating it.")
    repeated = replace(
        job,
        parameters=manifest["parameters"],
        dataset=dataset or job.dataset,
        device=manifest["device"]["id"] if _processes(manifest) == 1 else job.device,
        processes=_processes(manifest),
        threads=manifest["device"]["threads"] * _processes(manifest),
        profile=False,
    )
    folder = JobFolder.create(output, repeated)
    # Parameters derived from data and device are taken from the run, not derived again.
    parameters = manifest["parameters"]
    write_json(folder.parameters_file, {"requested": parameters, "used": parameters, "found": {}})
    write_json(folder.repeated_file, {"run": str(original.path), "manifest": manifest})
    return folder


def differences(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Changes in the program and the computer, in words: "torch 2.8.0 instead of 2.7.1"."""
    before, after = _facts(earlier), _facts(now)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [f"{name} {after.get(name) or 'none'} instead of {before.get(name) or 'none'}" for name in changed]


def weights_fingerprint(networks: dict[str, dict[str, torch.Tensor]]) -> str:
    """SHA-256 of all weights with their names; files with the same weights may differ in other bytes."""
    import torch

    digest = hashlib.sha256()
    for network, state in sorted(networks.items()):
        for name, value in sorted(state.items()):
            tensor = value.detach().cpu().contiguous()
            digest.update(f"{network}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def source_fingerprint(names: Iterable[str]) -> str:
    """SHA-256 of the Python sources of packages and of single modules, so that a changed copy is recognised.

    Line endings do not count.
    """
    digest = hashlib.sha256()
    for name in names:
        module = importlib.import_module(name)
        source = Path(str(module.__file__))
        root = source.parent
        files = root.rglob("*.py") if hasattr(module, "__path__") else [source]
        for file in sorted(files, key=lambda file: file.relative_to(root).as_posix()):
            digest.update(f"{name}/{file.relative_to(root).as_posix()}\n".encode())
            digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _environment(method: Method, device: torch.device) -> dict[str, Any]:
    return {
        "code": {"version": __version__, "sources": source_fingerprint(_sources(method))},
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {package: _version(package) for package in _PACKAGES},
        "device": _device(device),
    }


def _processes(manifest: dict[str, Any]) -> int:
    return manifest["device"].get("processes", 1)


def _sources(method: Method) -> list[str]:
    """The packages and files that define the method's class and its bases; some may be the user's own."""
    names = {base.__module__.partition(".")[0] for base in type(method).__mro__} | {"MedDeepLib"}
    return sorted(names - sys.stdlib_module_names)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _device(device: torch.device) -> dict[str, Any]:
    import torch

    from MedDeepLib.training import ranks
    from MedDeepLib.training.precision import autocast_dtype, precision_name

    facts: dict[str, Any] = {"id": str(device), "threads": torch.get_num_threads()}
    if ranks.count() > 1:
        facts["processes"] = ranks.count()
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        facts |= {"name": gpu.name, "compute capability": f"{gpu.major}.{gpu.minor}", "driver": driver_version()}
        facts |= {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
    else:
        facts |= {"name": platform.processor() or platform.machine()}
        facts |= {"instructions": torch.backends.cpu.get_cpu_capability()}
    return facts | {_PRECISION: precision_name(autocast_dtype("auto", device))}


def _warn(changed: list[str], since: str, context: Context) -> None:
    if changed:
        context.report(
            "warning",
            message=f"Since {since}, something has changed on which the last bits of the weights may depend: "
            f"{'; '.join(changed)}.",
        )


def _facts(manifest: dict[str, Any]) -> dict[str, str]:
    """The values to compare, by their display names."""
    code = manifest["code"]
    facts = {"MedDeepExtension": f"{code['version']} (sources {code['sources'][:8]})"}
    facts |= {"Python": manifest["python"], "system": manifest["system"]}
    facts |= {name: version for name, version in manifest["packages"].items()}
    device = manifest["device"]
    if device["id"] == "cpu":  # earlier versions computed in float32 on every CPU, without recording it
        device = {_PRECISION: "float32"} | device
    return facts | {f"device {name}": str(value) for name, value in device.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
