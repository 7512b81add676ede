"""What in an image speaks for an answer: Grad-CAM and occlusion, on the network's grid."""

from __future__ import annotations

import itertools

import torch
from MedDeepLib.core import Context
from MedDeepLib.errors import Stopped

from ClassifyModuleLib.worker.networks.classifier import Classifier
from ClassifyModuleLib.worker.networks.convolutional import evidence_maps

_PATCHES = 6  # along each axis; each covers two such parts, so that neighbours overlap
_TOGETHER = 8


def grad_cam(network: Classifier, image: torch.Tensor, index: int) -> torch.Tensor:
    """Grad-CAM (Selvaraju et al. 2017, 10.1109/ICCV.2017.74) of output ``index``: (I, J[, K]), from 0 to 1.

    The maps of the network's last convolutional layer, each weighted by the mean gradient of the output with respect to
    it; what speaks against the output is 0. ``image``: (1, C, I, J[, K]).
    """
    kept: dict[str, torch.Tensor] = {}

    def keep(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        kept["maps"] = output
        return output.clone()  # later layers may work in place

    handle = network.get_submodule(network.evidence_layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            score = network(image.clone().requires_grad_())[0, index]
            (gradient,) = torch.autograd.grad(score, kept["maps"])
    finally:
        handle.remove()
    maps, axes = kept["maps"].detach(), tuple(range(2, gradient.ndim))
    weighted = (gradient.mean(axes, keepdim=True) * maps).sum(1).relu()
    return _scaled(evidence_maps(weighted.float(), image.shape[2:])).cpu()


@torch.inference_mode()
def occlusion(network: Classifier, image: torch.Tensor, index: int, context: Context) -> torch.Tensor:
    """Occlusion sensitivity (Zeiler and Fergus 2014, 10.1007/978-3-319-10590-1_53): (I, J[, K]), from 0 to 1.

    How far output ``index`` falls when a part of the image is covered by the image's mean.

    Raises Stopped when the user asked to stop.
    """
    shape = image.shape[2:]
    edges = [max(1, -(-length // _PATCHES)) for length in shape]
    places = list(itertools.product(*(range(0, length, edge) for length, edge in zip(shape, edges, strict=True))))
    whole = float(_score(network(image), index)[0])
    mean = image.mean(tuple(range(2, image.ndim)), keepdim=True)
    fall, count = torch.zeros(shape), torch.zeros(shape)
    for first in range(0, len(places), _TOGETHER):
        if context.stop_requested():
            raise Stopped
        boxes = [
            tuple(
                slice(max(0, start - edge // 2), start + edge + edge // 2)
                for start, edge in zip(place, edges, strict=True)
            )
            for place in places[first : first + _TOGETHER]
        ]
        covered = image.repeat(len(boxes), *[1] * (image.ndim - 1))
        for number, box in enumerate(boxes):
            covered[(number, slice(None), *box)] = mean[0]
        for box, score in zip(boxes, _score(network(covered), index).tolist(), strict=True):
            fall[box] += whole - score
            count[box] += 1
        context.report("progress", step=min(first + _TOGETHER, len(places)), total=len(places), remaining=None)
    return _scaled((fall / count.clamp_min(1)).relu())


def _score(outputs: torch.Tensor, index: int) -> torch.Tensor:
    """The output (B,) against the mean of the others; a value is its own score."""
    if outputs.shape[1] == 1:
        return outputs[:, 0]
    others = (outputs.sum(1) - outputs[:, index]) / (outputs.shape[1] - 1)
    return outputs[:, index] - others


def _scaled(values: torch.Tensor) -> torch.Tensor:
    largest = values.max()
    return values / largest if largest > 0 else values
