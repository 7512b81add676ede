"""FloatRange: the parameter type of range widgets."""

from __future__ import annotations

from .parameter_pack import parameterPack


@parameterPack
class FloatRange:
    """A closed interval of numbers; `minimum` is never greater than `maximum`."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum: float = 0, maximum: float = 0) -> None:
        self.setRange(minimum, maximum)

    @property
    def minimum(self) -> float:
        """Lower end; raises ValueError when set above the upper end."""
        return self._minimum

    @minimum.setter
    def minimum(self, value: float) -> None:
        self.checkRange(value, self.maximum)
        self._minimum = value

    @property
    def maximum(self) -> float:
        """Upper end; raises ValueError when set below the lower end."""
        return self._maximum

    @maximum.setter
    def maximum(self, value: float) -> None:
        self.checkRange(self.minimum, value)
        self._maximum = value

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set both ends; raises ValueError if they are in the wrong order."""
        self.checkRange(minimum, maximum)
        self._minimum = minimum
        self._maximum = maximum

    @staticmethod
    def checkRange(minimum: float, maximum: float) -> None:
        """Raise ValueError unless minimum <= maximum."""
        if not minimum <= maximum:
            raise ValueError(f"A range needs minimum <= maximum, not {minimum} and {maximum}.")

    def __repr__(self) -> str:
        return f"FloatRange(minimum={self.minimum}, maximum={self.maximum})"

    __str__ = __repr__
