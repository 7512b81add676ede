"""Serializer of parameter packs, and the packs it reads: they write every change to the parameter node."""

from __future__ import annotations

import functools
from typing import Any

import slicer.util

from .parameter_pack import describe, initialize_members, isParameterPack, storage_name
from .serializers import Serializer, ValidatedSerializer, parameterNodeSerializer
from .validators import IsInstance, NotNone


@parameterNodeSerializer
class ParameterPackSerializer(Serializer):
    """Serializer of a parameter pack: the member `m` of the pack `name` is kept under `name.m`."""

    def __init__(self, type_: type) -> None:
        self.type = type_

    @staticmethod
    def canSerialize(type_: Any) -> bool:
        return isinstance(type_, type) and isParameterPack(type_)

    @staticmethod
    def create(type_: Any) -> Serializer | None:
        if not ParameterPackSerializer.canSerialize(type_):
            return None
        return ValidatedSerializer(ParameterPackSerializer(type_), [NotNone(), IsInstance(type_)])

    def _members(self, name: str) -> list[tuple[str, str, Serializer]]:
        """Return attribute, name in the parameter node and serializer of each member."""
        return [(member, f"{name}.{member}", info.serializer) for member, info in self.type.allParameters.items()]

    def default(self) -> Any:
        return self.type()

    def isIn(self, parameterNode: Any, name: str) -> bool:
        _, storedName, serializer = self._members(name)[0]
        return serializer.isIn(parameterNode, storedName)

    def write(self, parameterNode: Any, name: str, value: Any) -> None:
        with slicer.util.NodeModify(parameterNode):
            for member, storedName, serializer in self._members(name):
                serializer.write(parameterNode, storedName, getattr(value, storage_name(member)))

    def read_members(self, parameterNode: Any, name: str) -> dict[str, Any]:
        """Return the values of the members as the node holds them."""
        return {
            member: serializer.read(parameterNode, storedName) for member, storedName, serializer in self._members(name)
        }

    def read(self, parameterNode: Any, name: str) -> Any:
        observedType = _observed_pack_type(self.type)
        return observedType(parameterNode, self, name, self.read_members(parameterNode, name))

    def remove(self, parameterNode: Any, name: str) -> None:
        with slicer.util.NodeModify(parameterNode):
            for _, storedName, serializer in self._members(name):
                serializer.remove(parameterNode, storedName)

    def supportsCaching(self) -> bool:
        return all(serializer.supportsCaching() for _, _, serializer in self._members(""))


@functools.cache
def _observed_pack_type(packType: type) -> type:
    """Return the subclass of the pack whose objects write their changes to a parameter node."""

    class ObservedParameterPack(packType):
        def __init__(
            self, parameterNode: Any, serializer: ParameterPackSerializer, name: str, members: dict[str, Any]
        ) -> None:
            vars(self)["_observed"] = None  # members are not saved before it is set
            initialize_members(self, **members)
            vars(self)["_observed"] = (parameterNode, serializer, name)

        def __setattr__(self, name: str, value: Any) -> None:
            if self._observed is not None and not hasattr(self, name):
                raise AttributeError(f"{packType.__name__} has no member {name!r}, and none can be added.")
            super().__setattr__(name, value)
            if name in self.allParameters and self._observed is not None:
                self._save()

        def _save(self) -> None:
            parameterNode, serializer, name = self._observed
            with slicer.util.NodeModify(parameterNode):
                try:
                    serializer.write(parameterNode, name, self)
                finally:
                    # Nested packs and containers become observed ones, a refused change is undone.
                    for member, value in serializer.read_members(parameterNode, name).items():
                        vars(self)[storage_name(member)] = value

        def __eq__(self, other: object) -> bool:
            if type(other) is type(self):
                return packType.__eq__(self, other)
            if type(other) is packType:
                return all(getattr(self, name) == getattr(other, name) for name in self.allParameters)
            return False

        __hash__ = None

        def __repr__(self) -> str:
            return f"Observed({describe(self)})"

        __str__ = __repr__

    ObservedParameterPack.__name__ = packType.__name__
    ObservedParameterPack.__qualname__ = packType.__qualname__
    return ObservedParameterPack
