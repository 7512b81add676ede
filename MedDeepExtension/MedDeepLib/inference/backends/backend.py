"""Chooses what computes a network, and says what it was and why."""

from __future__ import annotations

import importlib.metadata
import logging
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

from MedDeepLib.core.context import Context
from MedDeepLib.inference.backends import openvino_runtime as runtime
from MedDeepLib.inference.backends.converted import Converted, Entry, entry_key, network_key

MOST_DIFFERENCE = 1e-3
"""The largest difference from torch, as a share of the range of torch's output."""
LEAST_EQUAL_LABELS = 0.999
_MOST_COMPILED = 2  # shapes of input that stay ready; each holds the memory of a forward pass


@dataclass(frozen=True)
class _Ready:
    run: runtime.Compiled
    listed: bool


class Backend:
    """A trained network, computed by torch or by OpenVINO; called like the network itself.

    OpenVINO computes on the CPU in float32, without gradients, one input tensor at a time: anything else is left to
    torch. It does so within autocast too, where it is as fast as torch in bfloat16, and closer to float32.

    A network is converted for the first input of each shape and compared with torch on a tile of noise; where they
    differ, or the network cannot be converted, torch computes inputs of this shape.

    Attributes:
        network: the network itself.
        asked: the backend that was asked for, one of :data:`MedDeepLib.core.backends.BACKENDS`.
    """

    def __init__(self, network: torch.nn.Module, asked: str, device: torch.device, kept: Converted | None = None):
        """
        Args:
            network: on ``device``, in evaluation mode; its weights must not change any more.
            asked: see the attribute.
            kept: where converted networks are kept; None: nowhere.
        """
        self.network = network
        self.asked, self._kept = asked, kept or Converted()
        self._ready: OrderedDict[tuple, _Ready | None] = OrderedDict()  # None: torch computes this shape
        self._used: set[str] = set()
        self._reasons: list[str] = []
        self._told: weakref.ref | None = None
        self._told_reasons: set[str] = set()
        self._network_key = ""
        self._version = ""
        if asked != "torch" and device.type == "cpu":
            self._version = runtime.installed_version()
            if not self._version and asked == "openvino":
                self._refused("the package openvino is not installed; install it, or choose the backend auto")
        elif asked == "openvino":
            self._refused(f"it is used on the CPU only, not on {device}")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """What the network returns for these inputs."""
        if self._version and not options and len(inputs) == 1 and _is_suitable(inputs[0]):
            found = self._computed(inputs[0])
            if found is not None:
                return found
        self._used.add("torch")
        return self.network(*inputs, **options)

    def to(self, device: torch.device | str) -> Backend:
        """Move the network; on another device than the CPU torch computes it."""
        self.network.to(device)
        return self

    def finish(self, context: Context) -> None:
        """A case is done: give back what only a forward pass needs, and report why OpenVINO was not used.

        The reason is reported once in a job: as a warning where OpenVINO was asked for, otherwise as a message.
        """
        for ready in self._ready.values():
            if ready is not None:
                ready.run.release_memory()
        if self._told is None or self._told() is not context:
            self._told, self._told_reasons = weakref.ref(context), set()
        for reason in self._reasons:
            if reason not in self._told_reasons:
                self._told_reasons.add(reason)
                event = "warning" if self.asked == "openvino" else "message"
                context.report(event, message=f"OpenVINO did not compute the network: {reason}. torch computed it.")

    def in_words(self) -> str:
        """What has computed the network so far, with versions: "OpenVINO 2026.2.0"; empty before the first input."""
        versions = {"openvino": f"OpenVINO {self._version}", "torch": f"torch {torch.__version__}"}
        return " and ".join(versions[name] for name in sorted(self._used))

    def _for(self, image: torch.Tensor) -> _Ready | None:
        """The network compiled for inputs of this shape; None where torch computes them."""
        key = (*image.shape[1:], torch.get_num_threads())
        if key not in self._ready:
            compiled = [other for other, ready in self._ready.items() if ready is not None]
            for other in compiled[: max(0, len(compiled) - _MOST_COMPILED + 1)]:
                del self._ready[other]
            try:
                self._ready[key] = self._prepared((1, *image.shape[1:]), key[-1])
            except MemoryError:
                # torch may get along with what there is; if not, it says so itself.
                self._ready[key] = self._refused("there was not enough memory to convert the network")
        self._ready.move_to_end(key)
        return self._ready[key]

    def _computed(self, batch: torch.Tensor) -> Any:
        """The output for a batch, one input after the other: a CPU gains nothing from several at a time.

        None where torch computes it.
        """
        image = batch.as_subclass(torch.Tensor)
        ready = self._for(image)
        if ready is None:
            return None
        try:
            parts = [ready.run(image[number : number + 1]) for number in range(len(image))]
        except MemoryError:
            self._ready.clear()  # smaller inputs follow, which need another one
            raise
        except RuntimeError as error:
            self._ready = OrderedDict((key, None if r is ready else r) for key, r in self._ready.items())
            return self._refused(f"it failed ({_in_a_line(error)})")
        self._used.add("openvino")
        outputs = parts[0] if len(parts) == 1 else [torch.cat(group) for group in zip(*parts, strict=True)]
        outputs = [_with_facts_of(batch, output) for output in outputs]
        return outputs if ready.listed else outputs[0]

    def _prepared(self, shape: tuple[int, ...], threads: int) -> _Ready | None:
        try:
            facts = [list(shape), self._version, torch.__version__, _monai_version(), runtime.processor()]
            self._network_key = self._network_key or network_key(self.network)
        except Exception as error:  # the package is damaged, or does not fit this computer
            if runtime.out_of_memory(error):
                raise MemoryError from error
            return self._refused(f"it cannot be loaded ({_in_a_line(error)})")
        key = entry_key(self._network_key, *facts)
        entry = self._kept.find(key)
        if entry is not None:
            try:
                return self._from_entry(entry, threads)
            except RuntimeError:
                logging.getLogger(__name__).warning("The converted network %s cannot be read.", entry.folder)
        return self._converted(key, shape, threads)

    def _from_entry(self, entry: Entry, threads: int) -> _Ready | None:
        if entry.folder is None:
            return self._refused(entry.reason)
        return _Ready(runtime.Compiled(runtime.load(entry.folder), threads), entry.listed)

    def _converted(self, key: str, shape: tuple[int, ...], threads: int) -> _Ready | None:
        """The network converted, compared with torch, and kept."""
        ready, reason = None, ""
        for example in dict.fromkeys((_smaller(shape), shape)):
            try:
                ready, reason, model = self._attempt(example, shape, threads)
            except Exception as error:  # a network may do anything, and the converter raise anything
                if runtime.out_of_memory(error):
                    raise MemoryError from error
                logging.getLogger(__name__).info("OpenVINO: %s", error)
                ready, reason, model = None, f"it cannot be converted ({_in_a_line(error)})", None
            if not reason:
                break
        self._kept.keep(key, bool(ready and ready.listed), reason, lambda folder: runtime.save(model, folder))
        return self._refused(reason) if reason else ready

    def _attempt(self, example: tuple[int, ...], shape: tuple[int, ...], threads: int) -> tuple[_Ready, str, Any]:
        """The network, converted from what it does with an example; why it is refused; OpenVINO's model."""
        random = torch.Generator().manual_seed(0)
        model = runtime.converted(self.network, torch.randn(example, generator=random), shape)
        # On another tile: what the network did with the first one may have become a constant.
        image = 0.5 + torch.randn(shape, generator=random)
        wanted, listed = runtime.expected(self.network, image)
        ready = _Ready(runtime.Compiled(model, threads), listed)
        return ready, difference(wanted, ready.run(image)), model

    def _refused(self, reason: str) -> None:
        if reason not in self._reasons:
            self._reasons.append(reason)


def difference(expected: list[torch.Tensor], found: list[torch.Tensor]) -> str:
    """Why two results of a network cannot stand for each other, in words; empty when they can.

    Args:
        expected: torch's; each (1, channels, *spatial).
    """
    if [tuple(one.shape) for one in expected] != [tuple(one.shape) for one in found]:
        return "its results have another shape than torch's"
    for wanted, got in zip(expected, found, strict=True):
        if not torch.isfinite(wanted).all():
            return "torch's result for noise is not finite, so that the two cannot be compared"
        span = float(wanted.max() - wanted.min()) if wanted.numel() else 0.0
        largest = float((wanted - got).abs().max()) if wanted.numel() else 0.0
        if not largest <= MOST_DIFFERENCE * max(span, 1e-6):
            return f"its results differ from torch's by up to {largest:.2g}, where they range over {span:.2g}"
        if wanted.ndim > 2 and wanted.shape[1] > 1:
            equal = float((wanted.argmax(1) == got.argmax(1)).float().mean())
            if equal < LEAST_EQUAL_LABELS:
                return f"only {100 * equal:.2f} % of its labels are torch's"
    return ""


def _smaller(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A tile of about half the length: tracing takes more memory than computing. Not every network takes it."""
    return (*shape[:2], *(length if length < 32 else -(-length // 32) * 16 for length in shape[2:]))


def _is_suitable(image: Any) -> bool:
    return (
        (type(image) is torch.Tensor or hasattr(image, "copy_meta_from"))
        and image.device.type == "cpu"
        and image.dtype == torch.float32
        and image.ndim >= 2
        and image.numel() > 0
        and not torch.is_grad_enabled()
    )


def _with_facts_of(batch: Any, output: torch.Tensor) -> torch.Tensor:
    """The output as MONAI's tensor with the batch's affine and history, if the batch is one."""
    if type(batch) is torch.Tensor:
        return output
    return type(batch)(output).copy_meta_from(batch)


def _monai_version() -> str:
    try:
        return importlib.metadata.version("monai")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _in_a_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
