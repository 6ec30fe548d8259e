"""Checks that a class fits its kind: it has the required methods, with signatures that the host can call."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from functools import lru_cache
from inspect import Parameter, Signature
from typing import Any

from semantik_pipeline.contracts import KINDS, SemanticPlugin
from semantik_pipeline.errors import PluginLoadError

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
#: The largest FETCH_CONCURRENCY of a connector.
MOST_FETCHES = 32
#: Required arguments that ``initialize`` may have.
INITIALIZE_ASKS = ("config", "model_name")


def kind_of(cls: type, named_kind: str | None) -> str:
    """Return the kind from ``PLUGIN_TYPE``, else from the entry point's name, else the only kind the class fits.

    Raises PluginLoadError if the kind is unknown or can't be determined.
    """
    kind = getattr(cls, "PLUGIN_TYPE", "") or named_kind
    fitting = [name for name, (_, ways) in KINDS.items() if any(_defines_all(cls, way) for way in ways)]
    if len(fitting) > 1:  # other kinds may also have a method `authenticate` (connectors) or `process`
        fitting = [name for name in fitting if name not in ("auth", "postprocessor")]
    if not kind and len(fitting) == 1:
        kind = fitting[0]
    if kind not in KINDS:
        known = ", ".join(KINDS)
        what = f"PLUGIN_TYPE {kind!r}, which is not a plugin type" if kind else "no PLUGIN_TYPE"
        raise PluginLoadError(f"{cls.__name__} has {what}.", f"Set it to one of: {known}.")
    return kind


def check_shape(cls: type, kind: str) -> None:
    """Raise PluginLoadError, with what is expected and what was found, if the class does not fit its kind."""
    base, ways = KINDS[kind]
    if not any(_defines_all(cls, way) for way in ways):
        missing = min((_missing(cls, way) for way in ways), key=len)
        wanted = ", ".join(f"{name}{_written(getattr(base, name))}" for name in missing)
        raise PluginLoadError(
            f"{cls.__name__} is not a complete {kind} plugin: it lacks {wanted}.",
            "Add what is missing; docs/plugins.md describes the contract.",
        )
    _check_constructor(cls)
    for name in _contract_methods(base):
        if defines(cls, name):
            _check_method(cls, base, name)
    _check_initialize(cls)
    _check_concurrency(cls)


def conform(cls: type, kind: str) -> type[SemanticPlugin]:
    """Return the class itself if it inherits its kind's base, else a subclass that adds the base's default methods."""
    base = KINDS[kind][0]
    if issubclass(cls, base):
        return cls
    about = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "PLUGIN_TYPE": kind,
    }
    return types.new_class(cls.__name__, (cls, base), {}, lambda members: members.update(about))


def defines(cls: type, name: str) -> bool:
    """Whether the class or a plugin author's base class has the attribute; the contracts' own bases do not count."""
    ours = {SemanticPlugin, object, *(base for base, _ in KINDS.values())}
    return any(name in vars(owner) for owner in cls.__mro__ if owner not in ours)


def accepted(method: Callable[..., Any], optional: dict[str, Any]) -> dict[str, Any]:
    """Return those of the keyword arguments that the method accepts."""
    if not optional:
        return optional
    # The cache key is the class's function: a bound method would keep the instance, and its model, alive.
    names = _taken_by(method.__func__) if isinstance(method, types.MethodType) else _names(method)
    return optional if names is None else {name: value for name, value in optional.items() if name in names}


def _names(function: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names the function accepts by keyword; None if it accepts any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # implemented in C, without a signature
        return None
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(one.name for one in parameters if one.kind is not Parameter.POSITIONAL_ONLY)


_taken_by = lru_cache(maxsize=512)(_names)  # uncached, it would take 0.1 ms for each call of a plugin


# -- signatures -------------------------------------------------------------------------------------------------------


def _defines_all(cls: type, names: tuple[str, ...]) -> bool:
    return not _missing(cls, names)


def _missing(cls: type, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not defines(cls, name)]


def _contract_methods(base: type) -> list[str]:
    """Return the names of the base's methods except ``initialize``, whose arguments are checked separately."""
    names = [name for name in dir(base) if not name.startswith("_") and name != "initialize"]
    return [name for name in names if callable(getattr(base, name))]


def _check_concurrency(cls: type) -> None:
    value = getattr(cls, "FETCH_CONCURRENCY", 1)
    if type(value) is not int or not 1 <= value <= MOST_FETCHES:
        raise PluginLoadError(
            f"{cls.__name__}.FETCH_CONCURRENCY is {value!r}.", f"Set it to a whole number from 1 to {MOST_FETCHES}."
        )


def _check_method(cls: type, base: type, name: str) -> None:
    expected, found = _signature(base, name), _signature(cls, name)
    if expected is None:
        return
    if found is None:
        kind = type(inspect.getattr_static(cls, name)).__name__
        raise PluginLoadError(f"{cls.__name__}.{name} is a {kind}: expected a method {name}{_shown(expected)}.")
    needed = [p for p in expected.parameters.values() if p.default is Parameter.empty and p.kind in _POSITIONAL]
    why = _mismatch(needed, expected, found)
    if why:
        raise PluginLoadError(
            f"{cls.__name__}.{name} does not match the contract: expected {name}{_shown(expected)}, found "
            f"{name}{_shown(found)}.",
            why,
        )


def _mismatch(needed: list[Parameter], expected: Signature, found: Signature) -> str | None:
    """Return how to fix ``found`` if the host can't call it with the arguments the contract guarantees, else None."""
    try:
        found.bind(*[None] * len(needed))
    except TypeError:
        required = [p for p in found.parameters.values() if p.default is Parameter.empty]
        extra = [p.name for p in required if p.kind in (*_POSITIONAL, Parameter.KEYWORD_ONLY)][len(needed) :]
        if extra:
            return f"Give {', '.join(map(repr, extra))} a default: the host may not pass it."
        return f"It must take {len(needed)} argument{'s' * (len(needed) != 1)} by position."
    return None


def _check_constructor(cls: type) -> None:
    if not defines(cls, "__init__"):
        return
    try:
        signature = inspect.signature(cls)
        signature.bind({})
    except TypeError:
        found = f"__init__(self{', ' if signature.parameters else ''}{str(signature)[1:-1]})"
        raise PluginLoadError(
            f"{cls.__name__} can't be made: expected __init__(self, config=None), found {found}.",
            "Take the configuration as the only required argument.",
        ) from None
    except ValueError:  # no signature is available
        return


def _check_initialize(cls: type) -> None:
    if not defines(cls, "initialize"):
        return
    found = _signature(cls, "initialize")
    required = [p.name for p in found.parameters.values() if _is_required(p)] if found else []
    strange = [name for name in required if name not in INITIALIZE_ASKS]
    if strange:
        raise PluginLoadError(
            f"{cls.__name__}.initialize asks for {', '.join(map(repr, strange))}, which the host does not have.",
            "It may ask for nothing, for `config`, or for `model_name`.",
        )


def _is_required(parameter: Parameter) -> bool:
    variable = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return parameter.default is Parameter.empty and not variable


@lru_cache(maxsize=512)
def _signature(cls: type, name: str) -> Signature | None:
    """Return the signature as a caller of an instance sees it; None if it has none or is not a method."""
    attribute = inspect.getattr_static(cls, name)
    if isinstance(attribute, property):
        return None
    try:
        signature = inspect.signature(getattr(cls, name))
    except (TypeError, ValueError):
        return None
    if isinstance(attribute, (classmethod, staticmethod)) or not inspect.isroutine(attribute):
        return signature
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind in _POSITIONAL:
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def _written(function: Callable[..., Any]) -> str:
    """Return the signature as an author would write it: with self, without annotations."""
    signature = inspect.signature(function)
    return _shown(signature.replace(parameters=list(signature.parameters.values())[1:]))


def _shown(signature: Signature) -> str:
    bare = [p.replace(annotation=Parameter.empty) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=Signature.empty))
    return f"(self{', ' if bare else ''}{text[1:]}"
