"""Aligning volumes of the scene: the result is a transform node, and whatever else was requested."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from MedDeepLib.core import ApplyItem
from MedDeepLib.data.slots import Source
from MedDeepLib.errors import UserError
from MedDeepLib.jobs import Launcher, Worker
from MedDeepLib.scene import nodes
from MedDeepLib.scene.application_jobs import ApplicationJob, application_folder, start_application

from RegisterModuleLib.scene.transforms import transform_from_file, transform_to_file
from RegisterModuleLib.task import TASK

MAPS = {"checkerboard": "checkerboard", "difference": "difference", "jacobian": "Jacobian map"}
"""Maps for visual inspection: the name of the output, and the title of its volume."""


class RegistrationJob(ApplicationJob):
    """Registers a pair of volumes; the transform becomes a node above the moving volume.

    It can be stopped: the best transform so far is then the result.

    Attributes:
        transform: the node, None before the end; it takes the moving volume's space to the fixed one's.
        volume: the node with the moved volume on the fixed one's grid, if asked for.
        maps: volume nodes by their names in ``MAPS``, if asked for.
        words: the worker's summary of the result: similarity before and after, displacement, folding.
        warnings: the worker's warnings, in sentences.
        wanted: whether the result is to go into the scene; set it to False when that scene is closed.
    """

    def __init__(
        self,
        running: Worker,
        item: ApplyItem,
        inputs: dict[Path, Any],
        fixed: Any,
        moving: Sequence[Any],
        into: dict[str, Any],
    ):
        """
        Args:
            running: the worker.
            item: the files that it reads and writes.
            inputs: the volume nodes by the files that the worker reads.
            fixed: the first channel's volume.
            moving: the volumes of all channels.
            into: nodes that get results, "transform" and "volume"; new ones where there is None.
        """
        super().__init__(running, inputs)
        self.transform: Any = None
        self.volume: Any = None
        self.maps: dict[str, Any] = {}
        self.words = ""
        self.warnings: list[str] = []
        self.wanted = True
        self._item = item
        self._title = f"{moving[0].GetName()} to {fixed.GetName()}"
        # Node IDs, not nodes: the user may delete them while the job runs.
        self._fixed_id, self._moving_ids = fixed.GetID(), [node.GetID() for node in moving]
        self._into_ids = {name: node.GetID() for name, node in into.items() if node is not None}

    def translate(self, event: dict[str, Any]) -> dict[str, Any]:
        event = super().translate(event)
        if event["event"] == "warning" and not event.get("silent"):
            self.warnings.append(event["message"])
        return event

    def pair(self) -> tuple[Any, Any]:
        """Fixed and moving volume, the first channel of each; None for one that was deleted."""
        return self._node(self._fixed_id), self._node(self._moving_ids[0])

    def take_over(self) -> None:
        if not self.wanted:
            return
        self.words = self.folder.result()["outputs"][0]["words"]
        fixed, moving = self.pair()
        chosen = self._chosen("transform")
        self.transform = transform_from_file(self._item.output, self._title, chosen)
        if chosen is not None and self.transform is not chosen:
            self.notes.append(f"'{chosen.GetName()}' cannot hold this transform, so '{self._title}' was made.")
        self.transform.SetDescription(self.words)
        self._put_between(fixed)
        if "volume" in self._item.outputs:
            self.volume = self._volume("volume", f"{self._title} volume", fixed, self._chosen("volume"))
        for name, title in MAPS.items():
            if name in self._item.outputs:
                self.maps[name] = self._volume(name, f"{self._title} {title}", fixed)

    def _put_between(self, fixed: Any) -> None:
        """The transform goes under the fixed volume's transform, and the moving volumes under it."""
        if fixed is not None:
            parent = fixed.GetParentTransformNode()
            if parent is self.transform:
                fixed.SetAndObserveTransformNodeID(None)
            elif parent is None or not parent.IsTransformNodeMyParent(self.transform):  # put there meanwhile
                self.transform.SetAndObserveTransformNodeID(fixed.GetTransformNodeID())
        moving = [node for node in map(self._node, self._moving_ids) if node is not None]
        if not moving:
            self.notes.append(f"The moving volume is gone; '{self.transform.GetName()}' was not applied to any volume.")
            return
        for volume in moving:
            volume.SetAndObserveTransformNodeID(self.transform.GetID())
        names = " and ".join(f"'{volume.GetName()}'" for volume in moving)
        self.notes.append(f"'{self.transform.GetName()}' puts {names} into place.")

    def _volume(self, name: str, title: str, fixed: Any, into: Any = None) -> Any:
        from MedDeepLib.data.sources.image import read_image

        image = read_image(self._item.outputs[name])
        if into is not None and (len(image.array) > 1) != into.IsA("vtkMRMLVectorVolumeNode"):
            into = None
        node = nodes.volume_from_image(image, title, like=fixed, node=into)
        if name == "jacobian":
            node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
        return node

    def _chosen(self, name: str) -> Any:
        if name not in self._into_ids:
            return None
        node = self._node(self._into_ids[name])
        if node is None:
            self.notes.append(f"The chosen {name} is gone, so a new one was made.")
        return node

    def _node(self, node_id: str) -> Any:
        import slicer

        return slicer.mrmlScene.GetNodeByID(node_id)


def start_registration(
    launcher: Launcher,
    fixed: Sequence[Any],
    moving: Sequence[Any],
    model: str | Path,
    transform: Any = None,
    initial: Any = None,
    volume: Any = None,
    maps: Sequence[str] = (),
    device: str = "auto",
    options: dict[str, Any] | None = None,
) -> RegistrationJob:
    """Align a moving volume with a fixed one.

    Args:
        fixed, moving: volume nodes, one for each input channel of the model.
        model: a run folder, a model folder, the name of a released model, or of a method that needs no training.
        transform: the node that gets the result; a new one when None.
        initial: a transform node that is applied to the moving volume first; the result contains it. Otherwise the
            moving volume is taken as it is stored, whatever transform it is under.
        volume: the node that gets the moved volume; True: a new one; None: that volume is not made.
        maps: what else to make, of ``MAPS``.
        device: auto, cpu, cuda:N or mps.
        options: the method's apply parameters by name.

    Raises UserError when an argument is wrong; nothing has been started then.
    """
    for side, volumes in (("fixed", fixed), ("moving", moving)):
        if not volumes or any(node is None for node in volumes):
            raise UserError(f"Registration needs a {side} volume: choose one.")
    if fixed[0] is moving[0]:
        raise UserError(f"Fixed and moving volume are both '{fixed[0].GetName()}': choose another moving volume.")
    if volume is not None and volume in (*fixed, *moving):
        raise UserError(f"The moved volume would replace '{volume.GetName()}', an input: choose another one.")
    parent = fixed[0].GetParentTransformNode()
    if transform is not None and parent is not None and parent.IsTransformNodeMyParent(transform):
        raise UserError(
            f"'{transform.GetName()}' also moves the fixed volume '{fixed[0].GetName()}': choose another transform for "
            "the result."
        )
    unknown = sorted(set(maps) - set(MAPS))
    if unknown:
        raise UserError(f"There is no map '{unknown[0]}': choose from {', '.join(MAPS)}.")
    with application_folder(TASK.name) as folder:
        files = [[nodes.volume_to_file(node, folder / "input") for node in side] for side in (fixed, moving)]
        begin = transform_to_file(fixed[0].GetParentTransformNode(), initial, folder / "input", fixed[0])
        inputs = {side: Source("image", tuple(paths)) for side, paths in zip(("fixed", "moving"), files, strict=True)}
        inputs |= {"initial": Source("transform", (begin,))} if begin else {}
        outputs = {"transform": str(folder / "transform.h5")}
        outputs |= {name: str(folder / f"{name}.nrrd") for name in (*(["volume"] if volume else []), *maps)}
        item = ApplyItem(inputs, outputs)
        running = start_application(launcher, folder, TASK.name, model, item, device, options)
    named = dict(zip([*files[0], *files[1]], [*fixed, *moving], strict=True))
    into = {"transform": transform, "volume": None if volume is True else volume}
    return RegistrationJob(running, item, named, fixed[0], moving, into)


def overlap(fixed: Any, moving: Any, initial: Any = None) -> bool:
    """Whether the boxes of two volumes have anything in common in space, the moving one under ``initial``."""
    import vtk

    boxes = []
    for volume, transform in ((fixed, fixed.GetParentTransformNode()), (moving, initial)):
        size = np.array(volume.GetImageData().GetDimensions()) - 1 if volume.GetImageData() else np.zeros(3)
        index = np.array(list(itertools.product(*[(0, n) for n in size])), float)
        affine = nodes.affine_of(volume)
        points = index @ affine[:3, :3].T + affine[:3, 3]
        if transform is not None:
            to_world = vtk.vtkGeneralTransform()
            transform.GetTransformToWorld(to_world)
            points = np.array([to_world.TransformPoint(point) for point in points])
        boxes.append((points.min(0), points.max(0)))
    (low, high), (other_low, other_high) = boxes
    return bool((low <= other_high).all() and (other_low <= high).all())
