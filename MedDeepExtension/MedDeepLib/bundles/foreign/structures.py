"""The structures that a segmentation bundle finds, as named and coloured segments."""

from __future__ import annotations

from MedDeepLib.bundles import metadata
from MedDeepLib.bundles.foreign.inspection import Bundle
from MedDeepLib.data.classes import parse_classes
from MedDeepLib.data.sources.labels import Segment


def output_classes(bundle: Bundle) -> tuple[Segment, ...]:
    """One segment for every output but the background; for other tasks, one for every output.

    With a background their values are the indices of the outputs, otherwise these plus one, as 0 is background.
    Raises UserError when two have the same name.
    """
    first = 0 if metadata.has_background(list(bundle.outputs)) else 1
    names = {str(number + first): name or f"output {number}" for number, name in enumerate(bundle.outputs)}
    if not any(value != "0" for value in names):
        names["1"] = "result"
    return parse_classes(names, f"The bundle {bundle.folder}")
