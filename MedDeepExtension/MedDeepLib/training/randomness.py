"""Random numbers that depend only on a seed and on the number of the item they are drawn for."""

from __future__ import annotations

import numpy as np


def random_state(seed: int, *numbers: int) -> np.random.RandomState:
    """An independent numpy RandomState for each combination of the seed and the numbers."""
    return np.random.RandomState(np.random.SeedSequence([seed, *numbers]).generate_state(4))
