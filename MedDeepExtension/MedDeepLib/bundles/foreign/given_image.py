"""Replaces MONAI's image loader in the preprocessing of a bundle: the images are already in memory.

They were read, checked and put on one grid as for every other model. The metadata on axes, channels and positions
follow the conventions of the replaced loader.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, MapTransform
from monai.utils import convert_to_dst_type
from monai.utils.enums import MetaKeys, SpaceKeys

from MedDeepLib.data.geometry import LPS_TO_RAS, affines_match, to_canonical
from MedDeepLib.data.sources.image import Image

_READERS_WITH_LPS = ("itkreader", "pydicomreader", "nrrdreader")


class GivenImaged(MapTransform):
    """Converts the :class:`Image` under each key to what ``LoadImaged`` returns for its file; same arguments."""

    def __init__(
        self,
        keys: Any,
        reader: Any = None,
        dtype: Any = np.float32,
        meta_keys: Any = None,
        meta_key_postfix: Any = "meta_dict",
        overwriting: bool = False,
        image_only: bool = True,
        ensure_channel_first: bool = False,
        allow_missing_keys: bool = False,
        affine_lps_to_ras: bool = True,
        reverse_indexing: bool = False,
        as_closest_canonical: bool = False,
        **_: Any,
    ):
        super().__init__(keys, allow_missing_keys)
        names = [
            str(name).rpartition(".")[2].lower() for name in ([reader] if isinstance(reader, str) else reader or [])
        ]
        self._dtype, self._image_only, self._channel_first = dtype, image_only, ensure_channel_first
        self._meta_keys = [meta_keys] if isinstance(meta_keys, str) else meta_keys
        self._postfix = meta_key_postfix if isinstance(meta_key_postfix, str) else meta_key_postfix[0]
        self._lps = not affine_lps_to_ras and any(name in _READERS_WITH_LPS for name in names)
        self._reversed = reverse_indexing and "itkreader" in names
        self._canonical = as_closest_canonical
        self._reads_with_itk = "itkreader" in names

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for number, key in enumerate(self.key_iterator(result)):
            image = self._tensor(result[key])
            result[key] = image
            if not self._image_only:
                meta_key = self._meta_keys[number] if self._meta_keys else f"{key}_{self._postfix}"
                result[meta_key] = image.meta
        return result

    def affine(self, image: Image) -> np.ndarray:
        """The image's affine in the conventions of this loader."""
        affine = image.affine if self._reads_with_itk else _as_nibabel_says(image)
        return LPS_TO_RAS @ affine if self._lps else affine

    def _tensor(self, image: Image) -> Any:
        array, affine = image.array, self.affine(image)
        if self._canonical:
            array, affine = to_canonical(array, affine)
        channel: float = 0
        if len(array) == 1:
            array, channel = array[0], float("nan")
        if self._reversed:
            array = np.transpose(array, [*range(array.ndim - 3), *range(array.ndim - 3, array.ndim)[::-1]])
        array = convert_to_dst_type(array, dst=array, dtype=self._dtype)[0]
        meta = {
            MetaKeys.AFFINE: affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: self.affine(image).copy(),
            MetaKeys.SPATIAL_SHAPE: np.array(image.shape),
            MetaKeys.SPACE: SpaceKeys.LPS if self._lps else SpaceKeys.RAS,
            MetaKeys.ORIGINAL_CHANNEL_DIM: channel,
            "filename_or_obj": str(image.path or "image"),
        }
        tensor = MetaTensor.ensure_torch_and_prune_meta(array, meta)
        return EnsureChannelFirst()(tensor, meta_dict=meta) if self._channel_first else tensor


def _as_nibabel_says(image: Image) -> np.ndarray:
    """The affine of a NIfTI file, equal to that of MONAI's reader to the last digit.

    ITK's differs by rounding, which is enough to move labels where a voxel lies half-way between two others.
    """
    if image.path is None or not image.path.name.lower().endswith((".nii", ".nii.gz")):
        return image.affine
    try:
        import nibabel

        loaded: Any = nibabel.load(image.path)
        affine = np.asarray(loaded.affine, float)
    except Exception:  # the image has already been read: nibabel's objections do not matter
        return image.affine
    return affine if affine.shape == (4, 4) and affines_match(affine, image.affine, image.shape) else image.affine


def given_keys(transforms: Sequence[Any]) -> list[tuple[GivenImaged, str]]:
    """Every key that is given an image in these transforms, with the step that does so."""
    return [(step, str(key)) for step in transforms if isinstance(step, GivenImaged) for key in step.keys]
