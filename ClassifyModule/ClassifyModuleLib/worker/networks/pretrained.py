"""Pretrained networks: their architecture is read off the weights, and the weights are adapted to other channels.

Weight files are read as tensors only. Known layouts: torchvision's ResNets and DenseNets, TorchXRayVision's DenseNets,
MedicalNet's 3D ResNets, and the classifiers that were trained here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from MedDeepLib.bundles.model import open_model
from MedDeepLib.data.formats.tensor_file import DamagedFileError, load_tensors
from MedDeepLib.errors import UserError
from monai.networks.nets import DenseNet, ResNet
from torch import nn

from ClassifyModuleLib.worker.networks.classifier import Classifier
from ClassifyModuleLib.worker.networks.convolutional import SliceWise, image_network

Weights = dict[str, torch.Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
_PREFIXES = ("module.", "model.", "backbone.", "net.")
_LAYER = re.compile(r"(denselayer\d+)\.(norm|conv)\.?([12])\.")
_BLOCK = re.compile(r"features\.denseblock(\d+)\.denselayer(\d+)\.")
_STAGE = re.compile(r"layer(\d)\.(\d+)\.")
_LEAST_LOADED = 0.9  # of the weights


def read_source(source: str) -> tuple[dict[str, Any], Weights]:
    """The architecture (JSON values) and the weights of a backbone.

    Args:
        source: a run or model folder of a classifier, or a file of weights; "": a small untrained DenseNet.

    Raises UserError when there is no such source, or its architecture is not known.
    """
    if not source:
        return {"kind": "own", "network": "densenet", "dimensions": "", "features": 24, "channels": 0}, {}
    path = Path(source).expanduser()
    if path.is_file():
        return _from_file(path)
    model = open_model(source, "classify")
    settings, reading = model.metadata["parameters"], model.metadata["plan"]["reading"]
    if "network" not in settings or "dimensions" not in reading:
        raise UserError(f"The model {source} has no network for images: choose one that the method cnn has trained.")
    weights = model.load_weights()["network"]
    start = "backbone."
    own = {name[len(start) :]: tensor for name, tensor in weights.items() if name.startswith(start)}
    kind = {name: settings[name] for name in ("network", "features")}
    channels = len(reading["channels"]) * (3 if reading["dimensions"] == "2.5" else 1)
    return {"kind": "own", "dimensions": reading["dimensions"], "channels": channels} | kind, own


def _from_file(path: Path) -> tuple[dict[str, Any], Weights]:
    weights = _plain(_load(path))
    first = next((weights[name] for name in ("conv1.weight", "features.conv0.weight") if name in weights), None)
    if first is None:
        raise UserError(
            f"The weights in {path.name} belong to no network that is known here: use a ResNet or DenseNet of "
            "torchvision, TorchXRayVision or MedicalNet, or a run of this program."
        )
    common = {"spatial": first.ndim - 2, "channels": first.shape[1]}
    if "conv1.weight" in weights:
        counts: dict[int, int] = {}
        for stage, block in (map(int, found.groups()) for found in map(_STAGE.match, weights) if found):
            counts[stage] = max(counts.get(stage, 0), block + 1)
        return common | {
            "kind": "resnet",
            "block": "bottleneck" if "layer1.0.conv3.weight" in weights else "basic",
            "layers": [counts[stage] for stage in sorted(counts)],
            "shortcut": "B" if "layer2.0.downsample.0.weight" in weights else "A",
            "bias": "layer2.0.downsample.0.bias" in weights,
        }, weights
    blocks: dict[int, int] = {}
    for block, layer in (map(int, found.groups()) for found in map(_BLOCK.match, weights) if found):
        blocks[block] = max(blocks.get(block, 0), layer)
    growth = next(t.shape[0] for name, t in weights.items() if name.endswith("denselayer1.layers.conv2.weight"))
    return common | {
        "kind": "densenet",
        "first": first.shape[0],
        "growth": growth,
        "layers": [blocks[block] for block in sorted(blocks)],
    }, weights


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:
            raise UserError(f"The weights {path.name} cannot be read: the file is damaged; copy it again.") from error
    try:
        return load_tensors(path)
    except DamagedFileError:
        pass
    try:  # files of torch before 1.6, as MedicalNet's and torchvision's older ones, are no archives
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"The weights {path.name} cannot be read as tensors: the file is damaged, or holds Python objects, which "
            "are never executed here; save its state dictionary alone."
        ) from error


def _plain(content: Any) -> Weights:
    """Names as MONAI's networks have them, without wrappers and without the classes' own layer."""
    while isinstance(content, Mapping) and not any(isinstance(value, torch.Tensor) for value in content.values()):
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            return {}
        content = inner
    if not isinstance(content, Mapping):
        return {}
    found: Weights = {}
    for name, tensor in content.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        found[_LAYER.sub(r"\1.layers.\2\3.", name)] = tensor.float() if tensor.is_floating_point() else tensor
    return found


def dimensions_for(architecture: Mapping[str, Any]) -> str:
    """What images it sees, as :class:`~ClassifyModuleLib.worker.images.ImageInput` takes it."""
    if architecture["kind"] == "own":
        known = architecture["dimensions"]
        return "automatic" if not known else "3" if known == "3" else "slices"
    return "3" if architecture["spatial"] == 3 else "slices"


def pretrained_network(architecture: Mapping[str, Any], dimensions: str, channels: int, outputs: int) -> Classifier:
    """The network for inputs of ``channels`` channels, untrained."""
    if architecture["kind"] == "own":
        network, features = architecture["network"], architecture["features"]
        return image_network(network, dimensions, channels, outputs, 0.2, features)
    sliced = dimensions == "2.5"
    seen, spatial = channels * 3 if sliced else channels, architecture["spatial"]
    if architecture["kind"] == "resnet":
        block, planes = architecture["block"], [64, 128, 256, 512]
        backbone: Any = ResNet(
            block,
            list(architecture["layers"]),
            planes,
            spatial,
            seen,
            conv1_t_stride=2,
            shortcut_type=architecture["shortcut"],
            feed_forward=False,
            bias_downsample=architecture["bias"],
        )
        count, layer = planes[-1] * (4 if block == "bottleneck" else 1), "layer4"
    else:
        layers = tuple(architecture["layers"])
        backbone = DenseNet(spatial, seen, 1, architecture["first"], architecture["growth"], layers)
        count, layer = backbone.class_layers.out.in_features, "features"
        backbone.class_layers.out = nn.Identity()
    if sliced:
        return Classifier(SliceWise(backbone), count, outputs, 0.2, f"backbone.backbone.{layer}")
    return Classifier(backbone, count, outputs, 0.2, f"backbone.{layer}")


def take_weights(network: Classifier, weights: Weights) -> None:
    """Load the backbone's weights; the first layer is adapted to another number of channels.

    Raises UserError when most of the network would stay untrained.
    """
    backbone: nn.Module = network.backbone
    inner = backbone.backbone if isinstance(backbone, SliceWise) else backbone
    weights = {name.removeprefix("backbone."): tensor for name, tensor in weights.items()}
    own = inner.state_dict()
    loaded = {}
    for name, tensor in own.items():
        given = weights.get(name)
        if given is None:
            continue
        if given.ndim > 2 and given.shape != tensor.shape and given.shape[0] == tensor.shape[0]:
            given = _for_channels(given, tensor.shape[1])
        if given.shape == tensor.shape:
            loaded[name] = given
    share = sum(own[name].numel() for name in loaded) / max(1, sum(tensor.numel() for tensor in own.values()))
    if share < _LEAST_LOADED:
        raise UserError(
            f"Only {share:.0%} of the network's weights are in the source: its architecture differs from the known "
            "ones."
        )
    inner.load_state_dict(own | loaded)


def _for_channels(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A first convolution (M, c, ...) for another number of channels: of the same answer to grey images."""
    mean = weight.mean(1, keepdim=True) * weight.shape[1] / channels
    return mean.expand(-1, channels, *weight.shape[2:]).clone()


def parts(network: Classifier) -> list[nn.Module]:
    """The backbone's parts from its input to its features, which are trained at rates of their own."""
    backbone: nn.Module = network.backbone
    inner = backbone.backbone if isinstance(backbone, SliceWise) else backbone
    children = list(inner.children())
    if isinstance(inner, DenseNet):
        children = [*inner.features.children()]
    return [child for child in children if any(True for _ in child.parameters())]
