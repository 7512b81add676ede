"""Evaluates the ``$`` expressions of configurations without ``eval``: sums, choices, lambdas and pure functions.

An expression is walked as a syntax tree. The allowed nodes are listed here, the allowed names and attributes in
:mod:`MedDeepLib.bundles.foreign.allowlist`; everything else is refused. :func:`problem` checks the same tree beforehand
without evaluating anything.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from MedDeepLib.bundles.foreign import allowlist, arguments

REFERENCES = "__local_refs"  # MONAI writes ``@name`` as ``__local_refs['name']``
MODULES = ("math", "monai", "np", "numpy", "os", "torch")
_MOST_CHARACTERS = 20_000
_MOST_STEPS = 1_000_000
_MOST_BITS = 4096
_MOST_LENGTH = 1_000_000
_BINARY = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.MatMult: operator.matmul,
}  # fmt: skip
_UNARY = {ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert}
_COMPARE = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Slice, ast.Call,
    ast.keyword, ast.Starred, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.IfExp, ast.List,
    ast.Tuple, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp, ast.comprehension,
    ast.Lambda, ast.arguments, ast.arg, *_BINARY, *_UNARY, *_COMPARE,
)  # fmt: skip


class RefusedExpression(Exception):
    """The expression asks for more than is allowed; the message says for what."""


def parse(text: str) -> ast.Expression:
    """The tree of an expression; raises RefusedExpression when it is not valid or has forbidden parts."""
    if len(text) > _MOST_CHARACTERS:
        raise RefusedExpression("it is far too long")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise RefusedExpression("it is no expression") from None
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise RefusedExpression(f"it has a part of the kind {type(node).__name__}")
        if isinstance(node, ast.comprehension) and node.is_async:
            raise RefusedExpression("it waits for something")
    return tree


def parse_import(text: str) -> tuple[str, str, str] | None:
    """``(alias, module, name)`` of an import statement (``name`` is empty for a whole module); else None."""
    try:
        statement = ast.parse(text.strip()).body[0]
    except (SyntaxError, ValueError, IndexError, RecursionError, MemoryError):
        return None
    if isinstance(statement, ast.Import):
        alias = statement.names[0]
        return alias.asname or alias.name, alias.name, ""
    if isinstance(statement, ast.ImportFrom):
        alias = statement.names[0]
        return alias.asname or alias.name, statement.module or "", alias.name
    return None


def _unknown(name: str) -> Any:
    raise KeyError(name)


def problem(text: str, names: Mapping[str, str] = {}, entries: arguments.Entries = _unknown) -> str:
    """Why an expression would be refused, as a clause after 'because'; empty if it is allowed.

    ``names`` maps imported names to what they stand for (``{"nets": "monai.networks.nets"}``), ``entries`` gives
    the entry of the configuration that a reference names.
    """
    try:
        tree = parse(text)
    except RefusedExpression as error:
        return str(error)
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    known = {name: name for name in MODULES} | dict(names)
    chained = set()
    for node in ast.walk(tree):  # outermost first, so that the longest chain comes first
        if isinstance(node, ast.Attribute):
            chain = _chain(node)
            if chain and chain[0] in known and chain[0] not in bound:
                if id(node) not in chained:
                    parts = [*known[chain[0]].split("."), *chain[1:]]
                    if not _chain_allowed(parts):
                        return f"it uses '{'.'.join(chain)}'"
                chained |= {id(part) for part in ast.walk(node)}
            elif id(node) not in chained and node.attr not in allowlist.METHODS:
                return f"it uses '{node.attr}'"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and id(node) not in chained and not _name_allowed(node.id, bound, known):
            return f"it uses '{node.id}'"
    return _call_problem(tree, bound, known, entries)


def _call_problem(tree: ast.Expression, bound: set[str], known: Mapping[str, str], entries: arguments.Entries) -> str:
    """Why the use of components is refused: they may only be called, with harmless arguments."""
    called = set()
    inner: set[int] = set()
    for node in ast.walk(tree):  # outermost first: a call comes before its function, a chain before its parts
        if isinstance(node, ast.Call):
            called.add(id(node.func))
            component = _component(node.func, bound, known)
            reason = arguments.call_problem(component, node, REFERENCES, entries) if component else ""
            if reason:
                return reason
        elif id(node) not in inner and id(node) not in called and (component := _component(node, bound, known)):
            return arguments.HANDED_ON.format(component)
        if isinstance(node, ast.Attribute):
            inner.add(id(node.value))
    return ""


def _component(node: ast.AST, bound: set[str], known: Mapping[str, str]) -> str:
    """The name of the component that a name or chain of names is; empty for everything else."""
    chain = [node.id] if isinstance(node, ast.Name) else _chain(node)
    if not chain or chain[0] in bound or chain[0] not in known:
        return ""
    path = ".".join([known[chain[0]], *chain[1:]])
    listed = "." in path and path != "torch.device" and allowlist.is_component(path)
    return ".".join(chain) if listed else ""


def all_names(text: str) -> tuple[set[str], set[str]]:
    """All names and attributes in an expression or statement, to inspect parts that are never run."""
    try:
        tree = ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(), set()
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            names |= {part for module in modules for part in module.split(".") if part}
    return names, attributes


class Evaluator:
    """Evaluates expressions.

    Args:
        names: the values of all names besides Python's own functions (modules, imported classes).
        attribute: ``attribute(value, name)`` gives an attribute or raises RefusedExpression.
        call: ``call(function, args, kwargs)`` calls what an expression calls, or raises RefusedExpression.
        only_called: whether a value may be called but not passed to code that would call it.
    """

    def __init__(
        self,
        names: Mapping[str, Any],
        attribute: Callable[[Any, str], Any],
        call: Callable[[Any, list, dict], Any],
        only_called: Callable[[Any], bool],
    ):
        self._names, self._attribute, self._call, self._only_called = names, attribute, call, only_called
        self._steps = 0

    def evaluate(self, text: str, references: Mapping[str, Any]) -> Any:
        """The value of an expression in which ``@name`` has become ``__local_refs['name']``.

        Raises RefusedExpression, or whatever the calculation itself raises.
        """
        return self._value(parse(text).body, {REFERENCES: references})

    def _value(self, node: ast.AST, scope: Mapping[str, Any]) -> Any:
        value = self._owner(node, scope)
        if self._only_called(value):
            raise RefusedExpression(arguments.HANDED_ON.format(getattr(value, "__name__", "a function")))
        return value

    def _owner(self, node: ast.AST, scope: Mapping[str, Any]) -> Any:
        """A value that is called, or whose attribute is read, immediately."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise RefusedExpression("it takes too many steps")
        return getattr(self, f"_on_{type(node).__name__.lower()}")(node, scope)

    def _on_constant(self, node: ast.Constant, scope) -> Any:
        return node.value

    def _on_name(self, node: ast.Name, scope) -> Any:
        for names in (scope, self._names, _FUNCTIONS):
            if node.id in names:
                return names[node.id]
        raise RefusedExpression(f"it uses '{node.id}'")

    def _on_attribute(self, node: ast.Attribute, scope) -> Any:
        if node.attr.startswith("_"):
            raise RefusedExpression(f"it uses '{node.attr}'")
        return self._attribute(self._owner(node.value, scope), node.attr)

    def _on_subscript(self, node: ast.Subscript, scope) -> Any:
        return self._value(node.value, scope)[self._value(node.slice, scope)]

    def _on_slice(self, node: ast.Slice, scope) -> slice:
        return slice(*(self._value(part, scope) if part else None for part in (node.lower, node.upper, node.step)))

    def _on_call(self, node: ast.Call, scope) -> Any:
        function = self._owner(node.func, scope)
        arguments = self._elements(node.args, scope)
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self._value(keyword.value, scope)
            keywords |= {keyword.arg: value} if keyword.arg else dict(value)
        if isinstance(function, _Lambda):
            return function(*arguments, **keywords)
        if any(function is known for known in _FUNCTIONS.values()):
            # Python's own functions would call their argument without checking how.
            for value in [*arguments, *keywords.values()]:
                if callable(value) and not isinstance(value, _Lambda) and "key" in keywords:
                    raise RefusedExpression("it sorts by a function of its own")
            return function(*arguments, **keywords)
        return self._call(function, arguments, keywords)

    def _on_binop(self, node: ast.BinOp, scope) -> Any:
        left, right = self._value(node.left, scope), self._value(node.right, scope)
        _check_size(type(node.op), left, right)
        return _BINARY[type(node.op)](left, right)

    def _on_unaryop(self, node: ast.UnaryOp, scope) -> Any:
        return _UNARY[type(node.op)](self._value(node.operand, scope))

    def _on_boolop(self, node: ast.BoolOp, scope) -> Any:
        value = None
        for part in node.values:
            value = self._value(part, scope)
            if bool(value) == isinstance(node.op, ast.Or):
                return value
        return value

    def _on_compare(self, node: ast.Compare, scope) -> Any:
        left = self._value(node.left, scope)
        result: Any = True
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self._value(part, scope)
            result = _COMPARE[type(kind)](left, right)
            if len(node.ops) > 1 and not result:
                return result
            left = right
        return result

    def _on_ifexp(self, node: ast.IfExp, scope) -> Any:
        return self._value(node.body if self._value(node.test, scope) else node.orelse, scope)

    def _elements(self, nodes: list[ast.expr], scope) -> list[Any]:
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                values.extend(self._value(node.value, scope))
            else:
                values.append(self._value(node, scope))
        return values

    def _on_list(self, node: ast.List, scope) -> list:
        return self._elements(node.elts, scope)

    def _on_tuple(self, node: ast.Tuple, scope) -> tuple:
        return tuple(self._elements(node.elts, scope))

    def _on_set(self, node: ast.Set, scope) -> set:
        return set(self._elements(node.elts, scope))

    def _on_dict(self, node: ast.Dict, scope) -> dict:
        content: dict = {}
        for key, value in zip(node.keys, node.values, strict=True):
            part = self._value(value, scope)
            content |= dict(part) if key is None else {self._value(key, scope): part}
        return content

    def _on_listcomp(self, node: ast.ListComp, scope) -> list:
        return [self._value(node.elt, inner) for inner in self._scopes(node.generators, scope)]

    def _on_generatorexp(self, node: ast.GeneratorExp, scope) -> list:
        return [self._value(node.elt, inner) for inner in self._scopes(node.generators, scope)]

    def _on_setcomp(self, node: ast.SetComp, scope) -> set:
        return {self._value(node.elt, inner) for inner in self._scopes(node.generators, scope)}

    def _on_dictcomp(self, node: ast.DictComp, scope) -> dict:
        return {
            self._value(node.key, inner): self._value(node.value, inner)
            for inner in self._scopes(node.generators, scope)
        }

    def _scopes(self, generators: list[ast.comprehension], scope):
        if not generators:
            yield scope
            return
        first, *others = generators
        for value in self._value(first.iter, scope):
            inner = dict(scope)
            _bind(first.target, value, inner)
            if all(self._value(test, inner) for test in first.ifs):
                yield from self._scopes(others, inner)

    def _on_lambda(self, node: ast.Lambda, scope) -> _Lambda:
        arguments = node.args
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            raise RefusedExpression("it has a function with any number of arguments")
        defaults = [self._value(default, scope) for default in arguments.defaults]
        return _Lambda(self, node, scope, [arg.arg for arg in [*arguments.posonlyargs, *arguments.args]], defaults)


class _Lambda:
    """A lambda made by an expression; it may be called long after the evaluation."""

    def __init__(self, evaluator: Evaluator, node: ast.Lambda, scope, names: list[str], defaults: list[Any]):
        self._evaluator, self._node, self._scope = evaluator, node, scope
        self._names, self._defaults = names, defaults

    def __call__(self, *args, **kwargs) -> Any:
        missing = len(self._names) - len(args)
        values = dict(zip(self._names[len(self._names) - len(self._defaults) :], self._defaults, strict=True))
        values |= dict(zip(self._names, args, strict=False)) | kwargs
        if missing < 0 or set(values) != set(self._names):
            raise TypeError(f"the function takes {', '.join(self._names)}")
        self._evaluator._steps = 0  # it is called once for every image
        return self._evaluator._value(self._node.body, {**self._scope, **values})


def _chain(node: ast.AST) -> list[str]:
    """``a.b.c`` as names; empty when it does not begin with a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _chain_allowed(parts: list[str]) -> bool:
    """Whether the chain, apart from methods at its end, refers to something that may be used."""
    for length in range(len(parts), 1, -1):
        if allowlist.is_allowed_chain(parts[:length]):
            return all(part in allowlist.METHODS for part in parts[length:])
    return False


def _name_allowed(name: str, bound: set[str], known: Mapping[str, str]) -> bool:
    if name == REFERENCES or name in bound or name in allowlist.FUNCTIONS:
        return True
    return name in known and "." in known[name] and allowlist.is_component(known[name])


def _check_size(kind: type, left: Any, right: Any) -> None:
    """Refuse calculations with a huge result, and text formatting, which can read attributes of its values."""
    if kind is ast.Mod and isinstance(left, (str, bytes)):
        raise RefusedExpression("it formats a text")
    if kind is ast.Pow and isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _MOST_BITS:
        raise RefusedExpression("it makes a huge number")
    if kind is ast.Add and isinstance(left, (str, bytes, list, tuple)):
        added: Any = right  # of the same kind, or Python refuses it
        if len(left) + len(added) > _MOST_LENGTH:
            raise RefusedExpression("it makes a huge list")
    if kind is ast.Mult:
        for sequence, times in ((left, right), (right, left)):
            if not isinstance(sequence, (str, bytes, list, tuple)) or not isinstance(times, int):
                continue
            if len(sequence) * times > _MOST_LENGTH:
                raise RefusedExpression("it makes a huge list")
        if not isinstance(left, int) or not isinstance(right, int):
            return
        if left.bit_length() + right.bit_length() > _MOST_BITS:
            raise RefusedExpression("it makes a huge number")


def _bind(target: ast.expr, value: Any, scope: dict[str, Any]) -> None:
    if isinstance(target, ast.Name):
        scope[target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List)):
        for part, item in zip(target.elts, value, strict=True):
            _bind(part, item, scope)
    else:
        raise RefusedExpression("it assigns to something else than a name")


def _bounded_range(*arguments: int) -> range:
    numbers = range(*arguments)
    if len(numbers) > _MOST_LENGTH:
        raise RefusedExpression("it makes a huge list")
    return numbers


_FUNCTIONS: dict[str, Any] = {
    "abs": abs, "all": all, "any": any, "bool": bool, "dict": dict, "enumerate": enumerate,
    "float": float, "int": int, "len": len, "list": list, "max": max, "min": min, "range": _bounded_range,
    "reversed": reversed, "round": round, "set": set, "slice": slice, "sorted": sorted, "str": str, "sum": sum,
    "tuple": tuple, "zip": zip,
}  # fmt: skip
assert set(_FUNCTIONS) == set(allowlist.FUNCTIONS)
