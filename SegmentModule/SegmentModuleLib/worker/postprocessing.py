"""Post-processing of label maps: small separate pieces are removed where the training labels never have any."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from MedDeepLib.evaluation.overlap import count_labels

if TYPE_CHECKING:
    from MedDeepLib.core import TrainedModel

_LEAST_ML = 0.001


def count_pieces(labels: np.ndarray, classes: int) -> np.ndarray:
    """How many 26-connected pieces each class 0..classes of ``labels`` (I, J, K) has: int32; class 0 has none."""
    counts = np.zeros(classes + 1, np.int32)
    for index, _, _, count in _pieces(labels, classes):
        counts[index] = count
    return counts


def are_single_pieces(counts: Iterable[Any]) -> np.ndarray:
    """For each class 0..classes, whether it occurs and is always one piece.

    Args:
        counts: of every label map, as from :func:`count_pieces`; None for one whose pieces are not known.
    """
    counts = list(counts)
    known = [np.asarray(count) for count in counts if count is not None]
    if not known or len(known) < len(counts):
        return np.zeros(0, bool)
    return np.max(known, axis=0) == 1


def classes_to_clean(choice: str | bool, model: TrainedModel) -> tuple[int, ...]:
    """Indices of the classes, 1 is the first, of which only the largest piece is kept.

    Args:
        choice: the option ``largest_component``. "automatic" uses the facts that training stored with the model; models
            without it (older ones, bundles from elsewhere) keep all pieces.
    """
    indices = range(1, len(model.classes) + 1)
    if choice in ("always", True):
        return tuple(indices)
    stored = model.metadata.get("single_piece")
    if choice in ("never", False) or not isinstance(stored, dict):
        return ()
    return tuple(index for index in indices if stored.get(model.classes[index - 1]) is True)


def keep_largest_components(labels: np.ndarray, classes: int, only: Collection[int] | None = None) -> dict[int, int]:
    """Set to 0, in place, all but the largest 26-connected piece of every class 1..classes of ``labels`` (I, J, K).

    Args:
        only: the classes to do so for; None: all.

    Returns:
        How many voxels were removed, of the classes that lost some.
    """
    removed = {}
    for index, inside, pieces, count in _pieces(labels, classes, only):
        if count > 1:
            sizes = count_labels(pieces, count)[1:]
            inside[(pieces > 0) & (pieces != 1 + int(sizes.argmax()))] = 0
            removed[index] = int(sizes.sum() - sizes.max())
    return removed


def removal_in_words(millilitres: Mapping[str, float]) -> str:
    """A sentence on the volumes that were removed, by the structures' names; empty when nothing was."""
    if not millilitres:
        return ""
    volumes = [f"{name} {_volume(volume)}" for name, volume in millilitres.items()]
    return f"Small separate pieces were removed: {', '.join(volumes)}."


def _volume(millilitres: float) -> str:
    if millilitres < _LEAST_ML:
        return f"less than {_LEAST_ML} ml"
    return f"{millilitres:.0f} ml" if millilitres >= 100 else f"{millilitres:.2g} ml"


def _pieces(
    labels: np.ndarray, classes: int, only: Collection[int] | None = None
) -> Iterator[tuple[int, np.ndarray, np.ndarray, int]]:
    """Each class that occurs, its box in ``labels`` (a view), and there its pieces by number, and their count."""
    from scipy import ndimage

    for index, box in enumerate(ndimage.find_objects(labels, max_label=classes), start=1):
        if box is not None and (only is None or index in only):
            inside = labels[box]
            pieces: Any = ndimage.label(inside == index, structure=np.ones((3, 3, 3)))
            yield index, inside, *pieces
