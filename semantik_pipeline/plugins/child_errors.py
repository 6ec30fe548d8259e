"""Transfers exceptions out of a child process: as objects where that is safe, otherwise as text."""

from __future__ import annotations

import io
import pickle
import sys
import traceback
from dataclasses import astuple, dataclass
from typing import Any

from semantik_pipeline.errors import PermanentError, PipelineError
from semantik_pipeline.plugins.frames import dump
from semantik_pipeline.plugins.known_secrets import KNOWN
from semantik_pipeline.plugins.secrets import REDACTED


@dataclass(frozen=True)
class ErrorReport:
    """A description of an exception. ``pickled`` is the exception itself, or None if it does not survive pickling."""

    type_name: str
    text: str
    traceback: str
    pickled: bytes | None


def report(error: BaseException) -> bytes:
    """Return the frame body for an exception, with the secrets that this process knows replaced."""
    kind = type(error)
    _cleanse(error)
    return dump(
        astuple(
            ErrorReport(
                type_name=kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
                text=_clean(str(error)),
                traceback=_clean("".join(traceback.format_exception(error))),
                pickled=_pickled(error),
            )
        )
    )


def rebuild(body: bytes) -> BaseException:
    """Return the exception to raise; its ``child_traceback`` is the child's traceback as text.

    An exception that could only be rebuilt by importing a new module becomes a PermanentError with its type and text.
    """
    found = ErrorReport(*pickle.loads(body))
    error: Any = None
    if found.pickled is not None:
        try:
            error = _KnownTypes(io.BytesIO(found.pickled)).load()
        except Exception:  # a third-party __reduce__ may raise anything; the text is enough
            error = None
    if not isinstance(error, Exception):
        error = PermanentError(f"{found.type_name}: {found.text}" if found.text else found.type_name)
    error.child_traceback = found.traceback
    return error


def _clean(text: str) -> str:
    """Replace the secrets that this process knows; the parent replaces texts that have the shape of a credential."""
    return KNOWN.replaced(text, REDACTED)


def _cleanse(error: BaseException) -> None:
    """Replace secrets in the exception's string arguments, message and hint."""
    args = tuple(_clean(one) if isinstance(one, str) else one for one in error.args)
    if any(one is not before for one, before in zip(args, error.args, strict=True)):
        error.args = args
    if isinstance(error, PipelineError):
        error.message, error.hint = _clean(error.message), error.hint and _clean(error.hint)


def _pickled(error: BaseException) -> bytes | None:
    if not isinstance(error, Exception):  # SystemExit in a plugin must not end the parent
        return None
    try:
        body = dump(error)
        return body if type(pickle.loads(body)) is type(error) else None
    except Exception:  # an exception with a file, a lock or a picky __init__
        return None


class _KnownTypes(pickle.Unpickler):
    """An unpickler that only resolves imported modules, the standard library and this package.

    An error from a parser must not make the parent import that parser.
    """

    def find_class(self, module: str, name: str) -> Any:
        top = module.partition(".")[0]
        if module not in sys.modules and top not in sys.stdlib_module_names and top != "semantik_pipeline":
            raise pickle.UnpicklingError(f"{module} is not imported here")
        return super().find_class(module, name)
