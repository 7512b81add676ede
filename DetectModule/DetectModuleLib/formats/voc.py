"""Pascal VOC folders: ``JPEGImages/``, ``Annotations/*.xml``, and ``ImageSets/Main/{train,val,test}.txt`` if there are.

A box is xmin, ymin, xmax, ymax in pixels that are counted from 1 and belong to the box. Without ``ImageSets`` all
images are for training. An image whose annotation has no object is a negative case. Objects marked as difficult are
regions that evaluations leave out, as in the challenge.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from MedDeepLib.data.files import images_among
from MedDeepLib.data.readers.listing import Entry, Listing
from MedDeepLib.data.slots import CaseSlots, Source
from MedDeepLib.data.sources.boxes import IndexBox
from MedDeepLib.errors import UserError

from DetectModuleLib.formats.coco import pixel_box

_SETS = {"training": "train", "validation": "val", "test": "test"}
_LARGEST_FILE = 1 << 20


def read_voc(path: Path, slots: CaseSlots) -> Listing | None:
    """The cases of a folder, or None if it is no Pascal VOC folder. Raises UserError for an annotation that is none."""
    annotations, images = path / "Annotations", path / "JPEGImages"
    if not (annotations.is_dir() and images.is_dir()):
        return None
    files = {file.stem: file for file in images_among(sorted(images.iterdir()))}
    splits: dict[str, list[Entry]] = {}
    for split, names in _sets(path, sorted(file.stem for file in annotations.glob("*.xml"))).items():
        splits[split] = []
        for name in names:
            found, difficult = _objects(annotations / f"{name}.xml")
            content: dict[str, object] = {
                "name": name,
                "image": files.get(name, images / f"{name}.jpg"),
                "findings": Source("boxes", value=tuple(found)),
            }
            content |= {"excluded": Source("boxes", value=tuple(difficult))} if difficult else {}
            splits[split].append(Entry(content, f"{path.name}, {name}", path))
    return Listing(path.name, f"The folder {path}", path, splits)


def _sets(path: Path, everything: list[str]) -> dict[str, list[str]]:
    found = {}
    for split, name in _SETS.items():
        file = path / "ImageSets" / "Main" / f"{name}.txt"
        if file.is_file():
            lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
            found[split] = [parts[0] for parts in lines if parts]
    return found or {"training": everything}


def _objects(file: Path) -> tuple[list[IndexBox], list[IndexBox]]:
    """The objects in an image, and those that are marked as difficult."""
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ValueError
        root = ElementTree.fromstring(file.read_bytes())
        objects = []
        for one in root.iter("object"):
            name, difficult = one.findtext("name", ""), one.findtext("difficult", "0").strip() == "1"
            box = one.find("bndbox")
            assert box is not None
            left, top, right, bottom = (float(box.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax"))
            objects.append((name.strip(), difficult, left - 1, top - 1, right - left + 1, bottom - top + 1))
    except FileNotFoundError:
        raise UserError(f"The annotation {file} does not exist: add it, or take the image out of ImageSets.") from None
    except (OSError, ValueError, AssertionError, ElementTree.ParseError):
        raise UserError(f"{file} cannot be read as a Pascal VOC annotation: export it again.") from None
    boxes = [(pixel_box(x, y, w, h, name, str(file)), difficult) for name, difficult, x, y, w, h in objects]
    return [box for box, difficult in boxes if not difficult], [box for box, difficult in boxes if difficult]
