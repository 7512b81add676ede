"""Copies of one image across the splits of a dataset, and one patient under two names.

Images are compared by a perceptual hash: the signs of their low spatial frequencies, as in pHash (Zauner 2010,
https://www.phash.org/docs/pubs/thesis_zauner.pdf), here in two or three dimensions. It survives scaling of the
intensities, little noise, resampling and lossy compression; it does not survive rotation, mirroring, cropping or
inversion, so a copy that was turned is not found. Reading images is the caller's part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_GRID, _FREQUENCIES = 32, {2: 16, 3: 8}  # samples along an axis, and how many of its frequencies are kept
_FLAT = 1e-6  # of the highest intensity
TOLERANCE = 0.08
"""Share of bits in which near-duplicates may differ.

Of real brains and chests in MR and CT, copies that were rescaled, windowed, saved with 8 bits or given 5 % noise differ
in .02 at most, and halved in resolution in .07. Two subjects differ in .17 to .5, neighbouring slices in .12 to .7.
"""
_ROWS = 2048  # of the comparison at a time


@dataclass(frozen=True)
class Copies:
    """Cases that are one image.

    Attributes:
        cases: their names, in the dataset's order.
        splits: the splits that they lie in, each once.
        patients: the patients that they are said to be of, each once.
        difference: the largest share of bits in which two that were joined differ; 0 for exact copies.
    """

    cases: tuple[str, ...]
    splits: tuple[str, ...]
    patients: tuple[str, ...]
    difference: float

    @property
    def across_splits(self) -> bool:
        return len(self.splits) > 1

    @property
    def across_patients(self) -> bool:
        """Whether one patient has two names."""
        return len(self.patients) > 1


def fingerprint(image: np.ndarray) -> np.ndarray | None:
    """The perceptual hash of an image: (255,) bool of a picture (I, J), (511,) of a volume (I, J, K).

    A picture in colour is (I, J, 3) after :func:`grey`; a volume of one slice counts as a picture. None for an image of
    one intensity, which resembles all others. Raises ValueError for other shapes, and for values that are not finite.
    """
    values = np.squeeze(np.asarray(image))
    if values.ndim not in _FREQUENCIES or not values.size:
        raise ValueError(f"An image {np.shape(image)} is neither a picture nor a volume.")
    small = values.astype(np.float32)
    for axis in range(values.ndim):
        small = np.moveaxis(np.tensordot(_averaging(values.shape[axis]), small, (1, axis)), 0, axis)
    if not np.isfinite(small).all():
        raise ValueError("An image has intensities that are not finite.")
    if np.ptp(small) <= _FLAT * np.abs(small).max():
        return None
    from scipy.fft import dctn

    kept = _FREQUENCIES[values.ndim]
    frequencies = np.asarray(dctn(small - small.mean(), norm="ortho"))
    low = frequencies[(slice(kept),) * values.ndim].ravel()[1:]
    return low > np.median(low)


def grey(picture: np.ndarray) -> np.ndarray:
    """A picture in colour (I, J, C) in grey (I, J)."""
    return np.asarray(picture, np.float32).mean(-1)


def find_copies(
    fingerprints: Mapping[str, np.ndarray | None],
    splits: Mapping[str, str],
    patients: Mapping[str, str],
    tolerance: float = TOLERANCE,
) -> list[Copies]:
    """Groups of cases that are one image, those across splits first, then those of several patients.

    Args:
        fingerprints: of the cases; those without one, and with another number of bits, are compared with nothing.
        splits: "training", "validation" or "test" of each case; may lack cases.
        patients: of each case; may lack cases.
        tolerance: the share of bits in which two may differ. A group may join cases that differ more, through others.
    """
    groups = []
    for bits in sorted({len(bits) for bits in fingerprints.values() if bits is not None}):
        names = [name for name, own in fingerprints.items() if own is not None and len(own) == bits]
        for members, difference in _joined(np.array([fingerprints[name] for name in names]), tolerance):
            cases = tuple(names[n] for n in members)
            groups.append(Copies(cases, _each_once(splits, cases), _each_once(patients, cases), difference))
    return sorted(groups, key=lambda group: (not group.across_splits, not group.across_patients))


def copies_in_words(groups: Sequence[Copies], most: int = 3) -> list[str]:
    """What to tell the user, a sentence for each kind of trouble; nothing where there is none."""
    told = []
    for found, what, why in (
        (
            [group for group in groups if group.across_splits],
            "are in more than one split",
            "metrics of the test will be too good. Keep one copy of each, or give all copies the same patient",
        ),
        (
            [group for group in groups if group.across_patients],
            "have more than one patient's name",
            "a patient may be on both sides of a split. Give them the same patient if they are one",
        ),
    ):
        if found:
            examples = "; ".join(" = ".join(group.cases) for group in found[:most])
            more = f" and {len(found) - most} more" if len(found) > most else ""
            subject = "One image has copies that" if len(found) == 1 else f"{len(found)} images have copies that"
            told.append(f"{subject} {what} ({examples}{more}): {why}.")
    return told


def _averaging(length: int) -> np.ndarray:
    """Weights (_GRID, length) that average an axis over equal shares of it."""
    edges = np.arange(_GRID + 1) * (length / _GRID)
    voxels = np.arange(length)
    covered = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
    return (np.maximum(covered, 0) * (_GRID / length)).astype(np.float32)


def _joined(hashes: np.ndarray, tolerance: float) -> list[tuple[np.ndarray, float]]:
    """Members of each group of hashes (N, B) that differ in few bits, and the largest difference of two neighbours."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count, bits = hashes.shape
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    first, second, difference = [np.empty(0, int)], [np.empty(0, int)], [np.empty(0)]
    for start in range(0, count, _ROWS):
        differing = (1 - signs[start : start + _ROWS] @ signs.T / bits) / 2
        rows, columns = np.nonzero(differing <= tolerance + 1e-6)
        later = columns > rows + start
        first.append(rows[later] + start)
        second.append(columns[later])
        difference.append(differing[rows[later], columns[later]])
    pairs = np.concatenate(first), np.concatenate(second)
    graph = coo_matrix((np.ones(len(pairs[0])), pairs), (count, count))
    number, group_of = connected_components(graph, directed=False)
    largest = np.zeros(number)
    np.maximum.at(largest, group_of[pairs[0]], np.round(np.concatenate(difference), 6))
    sizes = np.bincount(group_of, minlength=number)
    return [(np.flatnonzero(group_of == group), float(largest[group])) for group in np.flatnonzero(sizes > 1)]


def _each_once(of_case: Mapping[str, str], cases: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(of_case[name] for name in cases if name in of_case))
