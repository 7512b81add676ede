"""The reasons for a training's configuration, with numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from MedDeepLib.core import Explanation, describe, to_mapping
from MedDeepLib.devices import preflight
from MedDeepLib.training.precision import autocast_dtype, precision_name

from SegmentModuleLib.parameters import AXES
from SegmentModuleLib.worker.fingerprint import ANISOTROPIC, Fingerprint
from SegmentModuleLib.worker.memory import Need, advice, patch_of

if TYPE_CHECKING:
    from SegmentModuleLib.worker.decisions import Configuration

# nnU-Net's networks, which generalise, have one or two million weights per case on its small datasets.
_MANY_WEIGHTS_PER_CASE = 3e6
_FEWEST_SLICES = 4


def explain(configuration: Configuration) -> Explanation:
    """The text, warnings and facts that explain a configuration before a training."""
    method, need = configuration.method, configuration.need
    fits, memory = advice(method, patch_of(method), need, configuration.free_bytes)
    weights = preflight.count_weights(need.build(method))
    per_case = weights / configuration.images.cases
    reasons = _reasons(configuration)
    lines = [_images(configuration.images), "Chosen for these images and this device:"]
    lines += [f"  {name} {value}: {reason}." for name, value, reason in reasons]
    lines += [memory, *_precision(method.parameters.precision, need)]
    lines.append(f"The network has {_millions(weights)} weights, {_millions(per_case)} for each training case.")
    warnings = []
    if per_case > _MANY_WEIGHTS_PER_CASE:
        warnings.append(
            f"The network has {_millions(per_case)} weights for each training case, so it may memorise the cases "
            "instead of learning what they have in common: trust its metrics on other patients only, and add cases or "
            "choose fewer features."
        )
    if method.dimensions == 3 and configuration.images.thinnest < _FEWEST_SLICES:
        warnings.append(
            f"The thinnest training image has {configuration.images.thinnest} of the {_FEWEST_SLICES} slices that a "
            "three-dimensional network needs: choose a network for slices (dimensions 2), or remove the image."
        )
    facts: dict[str, Any] = {
        "fingerprint": configuration.images.as_dict(),
        "reasons": {name: reason for name, _, reason in reasons},
        "memory": {
            "fits": fits,
            "needed_bytes": need.bytes(method, method.parameters.batch_size),
            "free_bytes": configuration.free_bytes,
            "planned_for_bytes": configuration.budget_bytes,
        },
        "weights": weights,
    }
    return Explanation("\n".join(lines), tuple(warnings), facts)


def _precision(wanted: str, need: Need) -> list[str]:
    """A sentence where the forward pass is not computed in float32."""
    on_cpu = need.device_type == "cpu"  # there memory is counted for float32, whatever is computed
    dtype = autocast_dtype(wanted, torch.device("cpu")) if on_cpu else need.dtype
    if dtype is None:
        return []
    why = "as you chose" if wanted != "auto" else f"which is faster on this {'CPU' if on_cpu else 'GPU'}"
    return [f"The forward pass is computed in {precision_name(dtype)}, {why}."]


def _images(images: Fingerprint) -> str:
    shape = " x ".join(map(str, images.median_shape))
    sentence = (
        f"The images: {_count(images.cases, 'training case')}, {_count(images.channels, 'channel')}, "
        f"{_count(images.classes, 'class')}; typically {shape} voxels of {_numbers(images.median_spacing)} mm (right, "
        "anterior, superior)"
    )
    low, high = np.min(images.spacings, axis=0), np.max(images.spacings, axis=0)
    if not np.allclose(low, high, rtol=0.01):
        sentence += f", voxels from {_numbers(low)} to {_numbers(high)} mm"
    if images.anisotropy > ANISOTROPIC:
        coarsest = AXES[int(np.argmax(images.median_spacing))]
        sentence += f"; {images.anisotropy:.1f} times as coarse along {coarsest} as along the finest axis"
    return f"{sentence}."


def _reasons(configuration: Configuration) -> list[tuple[str, str, str]]:
    """Name, value in words and reason of every parameter that could be chosen."""
    requested, used = to_mapping(configuration.requested.parameters), to_mapping(configuration.method.parameters)
    reasons = {
        "spacing": _why_spacing(configuration),
        "patch_size": _why_patch(configuration),
        "batch_size": _why_batch(configuration),
        **configuration.method.reasons(),
    }
    infos = describe(type(configuration.method.parameters))
    units = {info.name: f" {info.unit}" if info.unit else "" for info in infos}
    found = []
    for name, reason in reasons.items():
        wanted, value = requested[name], used[name]
        if wanted == value:
            reason = "as you chose"
        elif isinstance(wanted, list) and any(wanted):
            reason = f"as you chose where that was not 0, otherwise {reason}"
        found.append((name, _value(name, value) + units[name], reason))
    return found


def _why_spacing(configuration: Configuration) -> str:
    images = configuration.images
    if images.anisotropy <= ANISOTROPIC:
        return "the median of the training images"
    coarsest = AXES[int(np.argmax(images.median_spacing))]
    return f"the median of the training images; along {coarsest} the 10th percentile, as slices are thick"


def _why_patch(configuration: Configuration) -> str:
    images, method = configuration.images, configuration.method
    spacing = method.parameters.spacing
    shape = images.shape_at(spacing if method.dimensions == 3 else (*spacing[:2], 0.0))[: method.dimensions]
    image = f"a typical image has {_numbers(shape)} voxels of that size"
    if configuration.is_whole:
        return f"{image}, all of which fit"
    if configuration.limit == "speed":
        return f"{image}; a CPU trains with that much of it at an acceptable speed"
    if configuration.limit == "memory":
        return f"{image}; that much of it fits into {preflight.gigabytes(configuration.budget_bytes)} of memory"
    return image


def _why_batch(configuration: Configuration) -> str:
    if configuration.method.parameters.batch_size == 1:
        return f"two do not fit into {preflight.gigabytes(configuration.budget_bytes)} of memory"
    if configuration.method.parameters.batch_size > 2:
        return "as many as memory, speed and a twentieth of the data allow"
    return "the fewest that average out noise; memory and time are spent on large patches first"


def _value(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) if name == "features" else _numbers(value)
    return str(value)


def _numbers(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _count(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def _millions(count: float) -> str:
    return f"{count / 1e6:.2g} million"
