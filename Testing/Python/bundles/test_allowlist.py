"""The list of what may be made without trust, against the MONAI that is installed."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

from MedDeepLib.bundles.foreign import allowlist
from MedDeepLib.bundles.foreign.components import is_component
from monai.transforms import SaveClassificationd


def test_nothing_of_monai_that_may_be_made_writes_loads_fetches_or_waits():
    """Every class and function that needs no trust is read for words that do: a new one has to be looked at."""
    words = re.compile(
        r"\bopen\(|\.write|Saver|output_dir|sleep\(|subprocess|os\.system|(?:torch|np|pickle)\.load|download|\bexec\("
    )
    text = re.compile(r'""".*?"""', re.DOTALL)
    found = {}
    for package in (name for name in allowlist.COMPONENT_MODULES if name.startswith("monai.")):
        root = importlib.import_module(package)
        inner = pkgutil.walk_packages(getattr(root, "__path__", ()), package + ".")
        names = [package, *(info.name for info in inner if allowlist.is_component_module(info.name))]
        for module in map(importlib.import_module, names):
            for value in vars(module).values():
                if not is_component(value) or value.__name__.startswith("_"):
                    continue
                if hit := words.search(text.sub("", inspect.getsource(value))):
                    found[value.__name__] = hit[0]
    assert not found
    assert words.search(inspect.getsource(SaveClassificationd)), "which is on the list of those that are not made"
