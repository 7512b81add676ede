"""Components named in the configurations of our own models, for MONAI's command line outside Slicer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils.enums import MetaKeys, SpaceKeys

from MedDeepLib.data.preparation import stack_channels
from MedDeepLib.data.sources.image import read_image


class ReadImaged(MapTransform):
    """Reads a file or DICOM folder under each key, or a list of them with one per channel, as the panels do.

    The result is channel first with its axes as in the file and positions in RAS.
    """

    def __init__(self, keys: Any, resample_inputs: bool = False, allow_missing_keys: bool = False):
        super().__init__(keys, allow_missing_keys)
        self._resample = resample_inputs

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            names = result[key] if isinstance(result[key], (list, tuple)) else [result[key]]
            image = stack_channels([read_image(name) for name in names], self._resample)
            meta = {
                MetaKeys.AFFINE: image.affine.copy(),
                MetaKeys.ORIGINAL_AFFINE: image.affine.copy(),
                MetaKeys.SPATIAL_SHAPE: np.array(image.shape),
                MetaKeys.SPACE: SpaceKeys.RAS,
                MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
                "filename_or_obj": str(names[0]),
            }
            array = np.ascontiguousarray(image.array, dtype=np.float32)
            result[key] = MetaTensor.ensure_torch_and_prune_meta(array, meta)
        return result
