"""How a method explains the parameters that it has chosen automatically."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Explanation:
    """Why a method is configured as it is.

    Attributes:
        text: lines for people: what the data look like, what was chosen and why, what it needs.
        warnings: sentences on known problems of this configuration.
        facts: the numbers behind it (JSON values), kept with the run.
    """

    text: str = ""
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
