"""ITK's Python package without the parts that are loaded and not used.

ITK loads a module when one of its classes is named, and with it every module that this one was built against: to read
an image it also loads all transforms and statistics (for NIfTI), to write a transform all filters that smooth, resample
and compute with images. Their libraries are larger than all others, and loading them takes a worker longer than torch.
What a class derives from is imported by its own file in any case, so the rest can be left out.

Everything left out is still loaded as soon as it is named. Where ITK is built differently from what is said here, it
loads what it always did.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

_BASE = ("ITKPyBase", "ITKCommon")
_IMAGES = {"ITKIONIFTI": (*_BASE, "ITKIOImageBase")}
_TRANSFORMS = {
    "ITKTransform": _BASE,
    "ITKDisplacementField": (*_BASE, "ITKTransform"),
    "ITKIOTransformBase": (*_BASE, "ITKTransform", "ITKDisplacementField"),
}
_ELASTIX = {"Elastix": (*_BASE, "ITKIOImageBase")}


@cache
def load_itk() -> Any:
    """The package ``itk``, with what reads and writes images."""
    # The bridge to numpy registers with dask's scheduler, which takes as long to load as all formats of images.
    with _absent("distributed"):
        import itk

        _load(itk, _IMAGES, ("ImageIOFactory", "PyBuffer"))
    return itk


@cache
def load_itk_with_transforms() -> Any:
    """The package ``itk``, with what reads and writes transforms as well."""
    itk = load_itk()
    _load(itk, _TRANSFORMS, ("AffineTransform", "DisplacementFieldTransform", "TransformFileWriterTemplate"))
    return itk


@cache
def load_itk_with_elastix() -> Any:
    """The package ``itk`` of a process that does nothing but register with elastix: torch cannot be used there."""
    if "torch" not in sys.modules:
        # Whoever has torch installed may give ITK its tensors: each filter looks for them.
        unused = ModuleType("torch")
        unused.Tensor = type("Tensor", (), {})  # type: ignore[attr-defined]
        sys.modules["torch"] = unused
    itk = load_itk_with_transforms()
    _load(itk, _ELASTIX, ("ParameterObject", "ElastixRegistrationMethod"))
    return itk


def _load(itk: Any, needs: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    """Load the modules of ``names``; those among ``needs`` with these modules only."""
    with _needing_only(needs):
        for name in names:
            getattr(itk, name)


@contextlib.contextmanager
def _needing_only(needs: Mapping[str, Sequence[str]]) -> Iterator[None]:
    from itk.support import base

    known = getattr(base, "itk_base_global_module_data", {})
    before = {name: known[name]._depends for name in needs if hasattr(known.get(name), "_depends")}
    left_out = {one for name, all_needs in before.items() for one in all_needs if one not in needs[name]}
    # The generated code of a module also imports them; an empty module will do.
    empty = {f"itk.{name}Python" for name in left_out - set(needs)} - set(sys.modules)
    for name, all_needs in before.items():
        known[name]._depends = tuple(one for one in all_needs if one in needs[name])
    sys.modules.update({name: ModuleType(name) for name in empty})
    try:
        yield
    finally:
        for name in empty:
            sys.modules.pop(name, None)
        for name, all_needs in before.items():
            known[name]._depends = all_needs


@contextlib.contextmanager
def _absent(name: str) -> Iterator[None]:
    """For the time being a package cannot be imported, unless it already was."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # this is how Python notes it
    try:
        yield
    finally:
        sys.modules.pop(name, None)
