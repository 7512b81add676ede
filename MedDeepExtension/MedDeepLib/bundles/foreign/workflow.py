"""Runs a bundle from elsewhere on images in memory, with its own preprocessing, inferer and postprocessing.

The stages and their order are those of MONAI's ``SupervisedEvaluator``, so that the result is the same, voxel by voxel.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, list_data_collate
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer
from monai.transforms import Compose, Decollated, SpatialResample, apply_transform

from MedDeepLib.bundles.foreign.components import Attributes
from MedDeepLib.bundles.foreign.config_file import entry, items
from MedDeepLib.bundles.foreign.given_image import GivenImaged, given_keys
from MedDeepLib.bundles.foreign.inspection import LOADERS, WRITERS, Bundle, Finding, is_target
from MedDeepLib.bundles.foreign.parser import NeedsTrust, SafeParser, UnknownName
from MedDeepLib.bundles.foreign.trust import is_trusted
from MedDeepLib.bundles.foreign.trust_question import NotTrusted
from MedDeepLib.bundles.foreign.weights import check_large_files, load_into, read_checkpoint
from MedDeepLib.bundles.layout import SCRIPT, WEIGHTS
from MedDeepLib.data.geometry import LPS_TO_RAS, affines_match
from MedDeepLib.data.sources.image import Image
from MedDeepLib.errors import Stopped, UserError

_importable: Path | None = None  # the trusted bundle whose own code can be imported
_SAVED = "meddeep_saved"  # our own entry: how the bundle's writer would have changed the result


class Workflow:
    """A bundle that is loaded and ready for any number of cases.

    Attributes:
        network: on its device, in evaluation mode; what is called like it may take its place.
        inferer: the bundle's own.
    """

    def __init__(self, bundle: Bundle, device: torch.device):
        """Raises UserError when something is missing or does not fit, NotTrusted when the user must be asked."""
        self._bundle, self._device = bundle, device
        trusted = bool(bundle.findings) and is_trusted(bundle.folder)
        if bundle.findings and not trusted:
            raise NotTrusted(bundle.folder, bundle.title, bundle.findings)
        check_large_files(bundle.folder)
        config = self._prepared_config()
        self._parser = self._make_parser(config, trusted)
        self.network: Any = self._loaded_network(config).to(device).eval()
        self._before = _steps(self._built("preprocessing") if "preprocessing" in config else None)
        self._after = _steps(self._built("postprocessing") if "postprocessing" in config else None)
        self.inferer: Any = self._built("inferer") if config.get("inferer") else SimpleInferer()
        if not given_keys(self._before):
            self._before.insert(0, GivenImaged("image", ensure_channel_first=True))
        self._saving = self._built(_SAVED)
        self._amp = bool(self._built("evaluator::amp")) if "amp" in _mapping(config.get("evaluator")) else False
        self._check_dimensions(config)

    def predict(
        self,
        image: Image,
        report: Callable[[str], None] = lambda sentence: None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> torch.Tensor:
        """The bundle's result (C, I, J, K) on the image's own voxels.

        Args:
            image: with a channel for every input of the bundle.
            report: called with sentences on what was found.
            progress: windows done and their number, 0 when it is not known.

        Raises Stopped when ``stop_requested`` says so.
        """
        data = self._given(image)
        for step in self._before:
            data = self._applied(step, data, "preprocessing")
        if stop_requested():
            raise Stopped
        batch: Any = list_data_collate([data])
        key = given_keys(self._before)[0][1]
        key = "image" if "image" in batch else key
        inputs = batch[key].to(self._device)
        network = _Watched(self.network, self._window_count(inputs), progress, stop_requested)
        output = {"image": inputs}
        amp = self._amp and self._device.type == "cuda"
        with torch.no_grad(), torch.autocast("cuda", enabled=True) if amp else contextlib.nullcontext():
            output["pred"] = self._inferred(inputs, network)
        apart: Any = Decollated(keys=None, detach=True)
        data = {**apart(batch)[0], **apart(output)[0]}
        del batch, output, inputs
        for step in self._after:
            data = self._after_step(step, data, report)
        result = data[self._saving["key"]] if self._saving["key"] in data else data["pred"]
        return self._on_grid_of(image, result, report)

    def use_less_memory(self, allow_cpu: bool) -> str:
        """Take the next step to use less memory, from now on; returns it in words, empty when none is left."""
        windows = isinstance(self.inferer, SlidingWindowInferer)
        if windows and int(self.inferer.sw_batch_size) > 1:
            self.inferer.sw_batch_size = 1
            return "applying the network to one window at a time"
        if windows and self._device.type != "cpu" and str(self.inferer.device) != "cpu":
            self.inferer.device = torch.device("cpu")
            return "summing the windows in main memory"
        if allow_cpu and self._device.type != "cpu":
            self._device = torch.device("cpu")
            self.network = self.network.to(self._device)
            if windows:
                self.inferer.sw_device = None
            return "computing on the CPU"
        return ""

    def _prepared_config(self) -> dict[str, Any]:
        """The configuration with its folder and device, images from memory, and no writing of files."""
        config = copy.deepcopy(self._bundle.config)
        config |= {"bundle_root": str(self._bundle.folder), "device": self._device, "_meta_": self._bundle.metadata}
        saving: dict[str, Any] = {"key": "pred"}
        for _, value in items(self._bundle.config.get("postprocessing")):
            if is_target(value, WRITERS):
                keys = value.get("keys", "pred")
                saving |= {"key": keys if isinstance(keys, str) else keys[0]}
                saving |= {name: value[name] for name in ("resample", "mode", "padding_mode") if name in value}
        for _, value in list(items(config)):
            if is_target(value, LOADERS):
                value["_target_"] = f"{GivenImaged.__module__}.{GivenImaged.__name__}"
            elif is_target(value, WRITERS):
                value["_disabled_"] = True
        return config | {_SAVED: saving}

    def _make_parser(self, config: dict[str, Any], trusted: bool) -> ConfigParser:
        if not trusted:
            return SafeParser(config, Attributes(self._bundle.folder, self._device), self._bundle.imports())
        _make_importable(self._bundle.folder)
        return ConfigParser(config)

    def _built(self, name: str) -> Any:
        folder = self._bundle.folder
        try:
            return self._parser.get_parsed_content(name)
        except NeedsTrust as error:
            raise NotTrusted(folder, self._bundle.title, (Finding(error.where, error.what, error.why),)) from None
        except UnknownName as error:
            import monai

            raise UserError(
                f"The bundle {folder} names '{error.what}' in '{error.where}', which MONAI {monai.__version__} does "
                f"not have (the bundle was made with {self._bundle.metadata.get('monai_version', 'another version')})."
            ) from None
        except UserError:
            raise
        except Exception as error:  # components raise anything for wrong arguments
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(
                f"The part '{name}' of the bundle {folder} cannot be made ({reason}): it may need another version of "
                f"MONAI (it was made with {self._bundle.metadata.get('monai_version', 'an unknown one')})."
            ) from error

    def _loaded_network(self, config: dict[str, Any]) -> torch.nn.Module:
        if self._bundle.script:  # only of trusted bundles
            return torch.jit.load(self._bundle.folder / SCRIPT, map_location="cpu")
        network = self._built("network" if "network" in config else "network_def")
        if not isinstance(network, torch.nn.Module):
            raise UserError(f"The bundle {self._bundle.folder} defines no network: correct its 'network_def'.")
        self._load_weights(network)
        return network

    def _load_weights(self, network: torch.nn.Module) -> None:
        place, folder = self._bundle.checkpoint, self._bundle.folder
        path, key, strict = folder / WEIGHTS, "model", True
        if place:
            path = Path(str(self._built(f"{place}::load_path")))
            loader = entry(self._bundle.config, place)
            key = next(iter(_mapping(loader.get("load_dict"))), "model")
            strict = str(loader.get("strict", True)).lower() != "false" and loader.get("strict_shape", True) is True
        elif not path.is_file() and list((folder / "models").glob("*.safetensors")):
            path = sorted((folder / "models").glob("*.safetensors"))[0]
        content = read_checkpoint(folder, path)
        load_into(network, _mapping(content[key]) if key in content else content, path, strict)

    def _check_dimensions(self, config: dict[str, Any]) -> None:
        flat = _mapping(config.get("network_def")).get("spatial_dims") == 2
        if flat and not isinstance(self.inferer, (SliceInferer,)):
            raise UserError(
                f"The bundle {self._bundle.folder} is made for single two-dimensional images and cannot be "
                "applied to volumes: choose one that processes volumes slice by slice."
            )

    def _given(self, image: Image) -> dict[str, Any]:
        keys = [key for _, key in given_keys(self._before)]
        if len(keys) == 1:
            return {keys[0]: image}
        if len(keys) != len(image.array):
            raise UserError(
                f"The bundle {self._bundle.folder} loads {len(keys)} images one by one, but names {len(image.array)} "
                "inputs."
            )
        parts = [Image(image.array[n : n + 1], image.affine, image.path) for n in range(len(keys))]
        return dict(zip(keys, parts, strict=True))

    def _inferred(self, inputs: torch.Tensor, network: _Watched) -> Any:
        try:
            return self.inferer(inputs, network)
        except (Stopped, UserError, torch.cuda.OutOfMemoryError, MemoryError):
            raise
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            from MedDeepLib.devices.memory import is_out_of_memory

            if is_out_of_memory(error):
                raise
            raise self._failed("network", error) from error

    def _applied(self, step: Any, data: Any, part: str) -> Any:
        try:
            return apply_transform(step, data)
        except Exception as error:  # transforms can raise anything
            cause = error.__cause__ or error
            if isinstance(cause, UserError):
                raise cause from None
            raise self._failed(f"{part} ({type(step).__name__})", cause) from error

    def _failed(self, part: str, error: BaseException) -> UserError:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return UserError(f"The {part} of the bundle {self._bundle.folder} failed on this image ({reason}).")

    def _after_step(self, step: Any, data: dict[str, Any], report: Callable[[str], None]) -> dict[str, Any]:
        """Apply one step of the postprocessing, unless it merges overlapping structures into one label image."""
        before = data.get("pred")
        result = self._applied(step, data, "postprocessing")
        after = result.get("pred")
        outputs = len(self._bundle.outputs)
        if self._bundle.overlapping and _channels(before) == outputs and _channels(after) == 1 and _is_binary(before):
            report(
                f"The last step of the bundle merges its {outputs} overlapping structures into one label image whose "
                "values it gives no names to; the structures before that step are shown."
            )
            return {**result, "pred": before}
        return result

    def _on_grid_of(self, image: Image, result: Any, report: Callable[[str], None]) -> torch.Tensor:
        """The result on the image's own voxels, and a note on how it was resampled."""
        if not isinstance(result, torch.Tensor) or result.ndim != 4:
            raise UserError(f"The bundle {self._bundle.folder} does not return an image: its result cannot be shown.")
        shape = tuple(result.shape[1:])
        loader = given_keys(self._before)[0][0]
        expected = loader.affine(image)
        affine = result.affine.cpu().numpy().astype(float) if isinstance(result, MetaTensor) else expected
        plain = result.as_tensor() if isinstance(result, MetaTensor) else result
        if shape == image.shape and affines_match(affine, expected, shape, 0.05):
            return plain
        if shape == image.shape and affines_match(LPS_TO_RAS @ affine, expected, shape, 0.05):
            report(
                "Geometry: the bundle confuses LPS and RAS in its result; it "
                "was placed on the image's own voxels."
            )
            return plain
        report("Geometry: the result was on its own grid and was resampled to the image's grid.")
        discrete = not torch.is_floating_point(plain) or bool((plain == plain.round()).all())
        mode = (
            self._saving.get("mode", "nearest")
            if self._saving.get("resample")
            else "nearest"
            if discrete
            else "bilinear"
        )
        padding = self._saving.get("padding_mode", "border")
        resample: Any = SpatialResample(mode=mode, padding_mode=padding, dtype=np.float64)
        source = MetaTensor(plain.float(), affine=torch.as_tensor(affine))
        return resample(source, dst_affine=torch.as_tensor(expected), spatial_size=image.shape).as_tensor()

    def _window_count(self, inputs: torch.Tensor) -> int:
        """The number of windows; 0 when unknown."""
        if not isinstance(self.inferer, SlidingWindowInferer) or isinstance(self.inferer, SliceInferer):
            return 0
        sizes = inputs.shape[2:]
        roi = self.inferer.roi_size
        roi = [roi] * len(sizes) if isinstance(roi, int) else list(roi)
        overlap = self.inferer.overlap
        overlaps = [overlap] * len(sizes) if isinstance(overlap, (int, float)) else list(overlap)
        windows = 1
        for length, window, share in zip(sizes, roi, overlaps, strict=True):
            window = min(window, length) if window > 0 else length
            step = max(1, int(window * (1 - share)))
            windows *= -(-(length - window) // step) + 1
        return -(-windows // int(self.inferer.sw_batch_size))


class _Watched:
    """A network that counts how often it is called, and stops when the user asks for it."""

    def __init__(self, network: torch.nn.Module, total: int, progress, stop_requested):
        self._network, self._total = network, total
        self._progress, self._stop_requested = progress, stop_requested
        self._done = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._stop_requested():
            raise Stopped
        result = self._network(*args, **kwargs)
        self._done += 1
        if self._total:
            self._progress(min(self._done, self._total), self._total)
        return result


def _make_importable(folder: Path) -> None:
    """Let a trusted bundle import its own code instead of the previous bundle's: both are named ``scripts``."""
    global _importable
    sys.dont_write_bytecode = True  # an additional file would change the bundle, and only these files are trusted
    if _importable is not None:
        sys.path[:] = [path for path in sys.path if path != str(_importable)]
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and Path(file).is_relative_to(_importable):
                del sys.modules[name]
    _importable = folder
    sys.path.insert(1, str(folder))


def _steps(transform: Any) -> list[Any]:
    if transform is None:
        return []
    return list(transform.flatten().transforms) if isinstance(transform, Compose) else [transform]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _channels(value: Any) -> int:
    return int(value.shape[0]) if isinstance(value, torch.Tensor) and value.ndim > 1 else 0


def _is_binary(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and bool(((value == 0) | (value == 1)).all())
