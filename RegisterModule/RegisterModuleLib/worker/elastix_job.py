"""Registers a pair with elastix in a separate process."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from MedDeepLib.data.sources.image import write_image
from MedDeepLib.errors import JobError, Stopped, UserError

from RegisterModuleLib.worker.grids import Grid
from RegisterModuleLib.worker.transforms import read_transform

if TYPE_CHECKING:
    from RegisterModuleLib.worker.alignment import Alignment

_POLL_SECONDS = 0.1
_TRANSFORMS = {"rigid": ["rigid"], "affine": ["rigid", "affine"], "b-spline": ["rigid", "affine", "bspline"]}
_METRICS = {
    "automatic": "AdvancedMattesMutualInformation",
    "mutual-information": "AdvancedMattesMutualInformation",
    "correlation": "AdvancedNormalizedCorrelation",
    "mean-square": "AdvancedMeanSquares",
}


def elastix_version() -> str:
    """The version of itk-elastix, or "" where it is not installed."""
    try:
        return importlib.metadata.version("itk-elastix")
    except importlib.metadata.PackageNotFoundError:
        return ""


def run_elastix(alignment: Alignment, options: Any) -> None:
    """Register the pair and give the alignment the transform.

    Raises:
        UserError: itk-elastix is not installed, or the images are single slices.
        JobError: elastix failed.
        Stopped: the user asked to stop; elastix has no result before its end.
    """
    if not elastix_version():
        raise UserError("elastix needs the Python package itk-elastix: install it, or choose another method.")
    if alignment.flat:
        raise UserError("elastix registers volumes here: for single slices choose another method.")
    if options.similarity not in _METRICS:
        raise UserError(f"elastix has no similarity '{options.similarity}': choose one of {', '.join(_METRICS)}.")
    pair = alignment.pair
    alignment.report_phase("Registering with elastix")
    with tempfile.TemporaryDirectory(prefix="meddeep-elastix-") as name:
        folder = Path(name)
        moving, affine = alignment.moving_before_start()
        # Both from 0 to 1: a squared difference must not depend on the scanners' intensity ranges.
        write_image(folder / "fixed.nrrd", np.asarray(alignment.fixed.values[0].cpu()), alignment.fixed.affine)
        write_image(folder / "moving.nrrd", moving, affine)
        request = {
            "fixed": str(folder / "fixed.nrrd"),
            "moving": str(folder / "moving.nrrd"),
            "transform": str(folder / "transform.h5"),
            "transforms": _TRANSFORMS[options.transform],
            "resolutions": options.resolutions,
            "control_spacing": options.control_spacing,
            "settings": {
                "MaximumNumberOfIterations": [str(options.iterations)],
                "Metric": [_METRICS[options.similarity]],
                "WriteResultImage": ["false"],
            },
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        _run(folder, alignment)
        found = read_transform(folder / "transform.h5", Grid(pair.fixed.affine, pair.fixed.shape))
    alignment.take(found)


def _run(folder: Path, alignment: Alignment) -> None:
    import torch

    threads = str(torch.get_num_threads())
    command = [sys.executable, str(Path(__file__).with_name("elastix_process.py")), str(folder / "request.json")]
    # Set from outside: elastix's own argument for the number of threads makes some of its versions crash.
    environment = {
        **os.environ,
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": threads,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with (folder / "log.txt").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)
        try:
            while process.poll() is None:
                if alignment.stop_requested():
                    raise Stopped
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        if process.returncode:
            log.seek(0)
            lines = [line.strip() for line in log.read().splitlines() if line.strip()]
            reason = lines[-1] if lines else f"exit code {process.returncode}"
            raise JobError(f"elastix failed ({reason}): try another method, or check that the images overlap.")
