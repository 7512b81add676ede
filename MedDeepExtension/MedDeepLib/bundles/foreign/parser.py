"""MONAI's own configuration parser, which checks components and expressions before they are instantiated or evaluated.

References, relative names, the order of evaluation, ``_disabled_`` and ``_requires_`` are MONAI's. Only code execution
is replaced: looking up ``_target_``, and ``eval``. A ``_mode_`` that only prepares a call for later is refused, since
nothing would check the arguments of that call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from monai.bundle import ConfigParser
from monai.bundle.config_item import ConfigComponent, ConfigExpression, ConfigItem

from MedDeepLib.bundles.foreign import arguments, components
from MedDeepLib.bundles.foreign.expressions import Evaluator, RefusedExpression, parse_import


class NeedsTrust(Exception):
    """The configuration asks for something that needs the user's trust.

    Attributes:
        where: the entry of the configuration.
        what: its name or expression.
        why: the reason, as half a sentence.
    """

    def __init__(self, where: str, what: str, why: str):
        super().__init__(f"{where}: {what}: {why}")
        self.where, self.what, self.why = where, what, why


class UnknownName(Exception):
    """The configuration names a component that does not exist: ``where`` and ``what``."""

    def __init__(self, where: str, what: str):
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


class SafeParser(ConfigParser):
    """A parser that executes nothing but listed components and pure expressions.

    Args:
        config: the configuration; its ``%`` entries must have been replaced.
        attributes: what expressions may use.
        imports: names that its import statements define, and what they stand for.
    """

    def __init__(self, config: dict[str, Any], attributes: components.Attributes, imports: Mapping[str, str]):
        # ConfigParser resolves every missing attribute itself, so these are set before its constructor runs.
        self.__dict__["evaluator"] = Evaluator(
            attributes.names(imports), attributes.attribute, attributes.call, components.only_called
        )
        super().__init__(config, globals=False)

    def _do_parse(self, config: Any, id: str = "") -> None:
        if isinstance(config, (dict, list)):
            for _, sub_id, value in self.ref_resolver.iter_subconfigs(id=id, config=config):
                self._do_parse(config=value, id=sub_id)
        if ConfigComponent.is_instantiable(config):
            item: ConfigItem = _Component(config, id, self.locator)
        elif ConfigExpression.is_expression(config):
            item = _Expression(cast(str, config), id, self.__dict__["evaluator"])
        else:
            item = ConfigItem(config=config, id=id)
        self.ref_resolver.add_item(item)


class _Component(ConfigComponent):
    def instantiate(self, **kwargs: Any) -> Any:
        if not self.is_instantiable(self.get_config()) or self.is_disabled():
            return None
        target = self.get_config()["_target_"]
        if reason := arguments.mode_problem(self.get_config().get("_mode_", "default")):
            raise NeedsTrust(self.get_id(), str(target), reason)
        try:
            return components.call(components.find(target, self.locator), (), self.resolve_args() | kwargs)
        except components.RefusedComponent as error:
            raise NeedsTrust(self.get_id(), str(target), str(error)) from None
        except components.UnknownComponent:
            raise UnknownName(self.get_id(), str(target)) from None


class _Expression(ConfigExpression):
    def __init__(self, config: str, id: str, evaluator: Evaluator):
        super().__init__(config=config, id=id, globals={})
        self._evaluator = evaluator
        self._text = config

    def evaluate(self, globals: dict | None = None, locals: dict | None = None) -> Any:
        text = self.get_config()[len(self.prefix) :]
        if parse_import(text) is not None:
            return None  # the allowed imported names are passed to the evaluator
        try:
            return self._evaluator.evaluate(text, (globals or {}).get("__local_refs", {}))
        except RefusedExpression as error:
            raise NeedsTrust(self.get_id(), self._text, str(error)) from None
