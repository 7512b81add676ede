"""OpenVINO's runtime: converts a torch network, compiles it for the CPU and runs it.

The runtime reads the traced network directly (its PyTorch front end), so that neither ``onnx`` nor an exported file is
needed. The tools of the package (``openvino.tools``) are kept out of the process: merely importing them reports usage
to the maker wherever the package ``openvino-telemetry`` is installed, which pip installs along with openvino.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from MedDeepLib.devices.memory import is_out_of_memory

_REPORTING = ("openvino.tools", "openvino_telemetry")
_MEMORY_TEXTS = ("bad_alloc", "failed to allocate", "could not allocate", "cannot allocate")


def installed_version() -> str:
    """The version of the package openvino; empty where it is not installed."""
    try:
        found = importlib.util.find_spec("openvino") is not None
        return importlib.metadata.version("openvino") if found else ""
    except (ImportError, ValueError, importlib.metadata.PackageNotFoundError):
        return ""


@lru_cache(maxsize=1)
def runtime() -> Any:
    """The package openvino, without its tools. Raises ImportError where it cannot be loaded."""
    for name in _REPORTING:
        # Even where another package has imported them before: nothing of ours must reach them.
        sys.modules[name] = None  # pyright: ignore[reportArgumentType]  # which makes their import fail
    import openvino

    return openvino


@lru_cache(maxsize=1)
def _core() -> Any:
    return runtime().Core()


def processor() -> list[str]:
    """The CPU and what it can compute, as OpenVINO has them; its kernels depend on both."""
    core = _core()
    return [core.get_property("CPU", "FULL_DEVICE_NAME"), *core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")]


def converted(network: torch.nn.Module, example: torch.Tensor, shape: tuple[int, ...]) -> Any:
    """The network as OpenVINO's model, for inputs of a shape; several outputs follow one another.

    Args:
        network: takes one tensor and returns a tensor, or a list of tensors; in evaluation mode, on the CPU.
        example: (1, C, *spatial), float32. What the network derives from it otherwise than by torch's operations
            becomes a constant, which may include its size.

    Raises any error where the network does something that OpenVINO does not know.
    """
    openvino = runtime()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with _exactly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated, and that shapes are taken as they are
        traced = torch.jit.trace(_Flat(network), example.clone(), check_trace=False, strict=False)
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced)  # must live until the end of the conversion
        model = front_end.convert(front_end.load(decoder))
    model.reshape(openvino.PartialShape(list(shape)))
    return model


def expected(network: torch.nn.Module, example: torch.Tensor) -> tuple[list[torch.Tensor], bool]:
    """What the network itself makes of the example in float32, as a list, and whether it returns one."""
    with _exactly():
        found = network(example.clone())
    return _listed(found), isinstance(found, (list, tuple))


@contextlib.contextmanager
def _exactly() -> Iterator[None]:
    """In float32, with tensors that may be traced, wherever the caller is."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        yield


class _Flat(torch.nn.Module):
    """A network whose outputs can be traced: one of them, or a tuple."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self._network = network

    def forward(self, image: torch.Tensor):
        outputs = _listed(self._network(image))
        return tuple(outputs) if len(outputs) > 1 else outputs[0]


def _listed(found: Any) -> list[torch.Tensor]:
    outputs = list(found) if isinstance(found, (list, tuple)) else [found]
    if not all(isinstance(output, torch.Tensor) for output in outputs):
        raise TypeError(f"the network returns a {type(found).__name__} that holds more than tensors")
    return outputs


def save(model: Any, folder: Path) -> None:
    """Write a model as ``network.xml`` and ``network.bin``, in float32."""
    runtime().save_model(model, str(folder / "network.xml"), compress_to_fp16=False)


def load(folder: Path) -> Any:
    """Read a model that :func:`save` has written. Raises RuntimeError when it is damaged."""
    return _core().read_model(str(folder / "network.xml"))


class Compiled:
    """A model that is ready to run on the CPU, for inputs of one shape."""

    def __init__(self, model: Any, threads: int):
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "ENABLE_CPU_PINNING": "NO",  # other jobs share the cores
        }
        self._compiled = _core().compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()

    def __call__(self, image: torch.Tensor) -> list[torch.Tensor]:
        """What the network makes of an image (1, C, *spatial). Raises MemoryError when there is not enough memory."""
        try:
            results = self._request.infer([image.contiguous().numpy()], share_inputs=True, share_outputs=False)
        except RuntimeError as error:
            raise out_of_memory(error) or error from None
        return [torch.from_numpy(results[number]) for number in range(len(results))]

    def release_memory(self) -> None:
        """Give back the memory of the intermediate results, until the next call."""
        release = getattr(self._compiled, "release_memory", None)  # not in all versions
        if release is not None:
            release()


def out_of_memory(error: BaseException) -> MemoryError | None:
    """OpenVINO's or torch's error as a MemoryError, if it says that there was not enough memory."""
    if is_out_of_memory(error):
        return MemoryError(str(error))
    return MemoryError(str(error)) if any(text in str(error).lower() for text in _MEMORY_TEXTS) else None
