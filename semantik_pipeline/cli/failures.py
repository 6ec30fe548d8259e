"""Turns an exception into an error report for the user: a line that names the problem, and a hint."""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass
from typing import Any

from semantik_pipeline.cli.wording import printable
from semantik_pipeline.errors import PipelineError

#: Maps phrases of pydantic, with which newer versions of Typer check values, to plainer ones.
_PYDANTIC = {": Value error, ": ": ", ": Input should be ": ": it must be "}

#: Exit code after Ctrl-C, by the convention of shells: 128 + SIGINT.
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class FailureReport:
    """An error as it is shown. ``unforeseen`` marks a defect of the program; the hint then asks for the traceback."""

    type: str
    message: str
    hint: str | None = None
    exit_code: int = 1
    traceback: str | None = None
    unforeseen: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, "message": self.message, "hint": self.hint}

    def lines(self, *, verbose: bool) -> list[str]:
        """Return the lines for standard error: the message, then the hint.

        Control characters are escaped, so that each stays on one line.
        """
        if self.unforeseen:
            message = f"{self.type}: {self.message}" if self.message else self.type
            hint = (
                None if verbose else "This error is unexpected. Run the command again with --verbose for a traceback."
            )
        else:
            message, hint = self.message, self.hint
        return [f"error: {printable(message)}", *([f"  {printable(hint)}"] if hint else [])]


def no_command(error: BaseException) -> bool:
    """Return whether the error means that a group was called without a command.

    Typer then raises an exception whose text is the group's help. Its class has no public name.
    """
    return type(error).__name__ == "NoArgsIsHelpError"


def describe(error: BaseException) -> FailureReport:
    """Return the report of an exception.

    A PipelineError has its own exit code and hint. Errors of Typer and of the operating system are reworded.
    """
    text = "".join(traceback.format_exception(error))
    if isinstance(error, PipelineError):
        return FailureReport(
            type=type(error).__name__,
            message=error.message or type(error).__name__,
            hint=error.hint,
            exit_code=error.exit_code,
            traceback=text,
        )
    if hasattr(error, "format_message"):  # Typer's own errors; the name of their class depends on its version
        code = getattr(error, "exit_code", 2)
        message = "No command is given." if no_command(error) else error.format_message()
        for theirs, ours in _PYDANTIC.items():
            message = message.replace(theirs, ours)
        return FailureReport(type="UsageError", message=message, hint=_help_of(error), exit_code=code)
    if isinstance(error, OSError) and error.errno is not None:
        return _system_error(error, text)
    return FailureReport(type=type(error).__name__, message=str(error), traceback=text, unforeseen=True)


def _help_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "semantik"
    option = getattr(error, "option_name", None)
    if option and option.startswith("-") and not option.startswith("--"):  # click reads -draft as -d, -r, -a …
        words = [one.metavar or one.name for one in context.command.params if one.param_type_name == "argument"]
        if words:
            return f"A {words[0]} that starts with - needs `--` before it, as in `{path} -- -draft`."
    return f"See `{path} --help`."


_HINTS = {
    errno.ENOSPC: "Free disk space and run the same command again; what was committed is safe.",
    errno.EDQUOT: "Free disk space and run the same command again; what was committed is safe.",
    errno.EACCES: "Check the permissions of the file and its folders with `ls -ld`, or name another file.",
    errno.EPERM: "Check your permissions, or name another file or folder.",
    errno.EROFS: "Name a place that can be written; `--data-dir` chooses the data folder.",
    errno.ENAMETOOLONG: "Give a shorter path. Check whether several paths were quoted as one.",
    errno.ELOOP: "Check the symbolic links with `ls -l`: they point to each other.",
    errno.EMFILE: "Let this process open more files (`ulimit -n`), and run the same command again.",
}


def _system_error(error: OSError, text: str) -> FailureReport:
    """Report an operating system error, such as an unreadable file or a full disk, with the file's name."""
    hint = _HINTS.get(error.errno or 0)
    where = f"{error.filename}: " if error.filename else ""
    return FailureReport(type=type(error).__name__, message=f"{where}{error.strerror}.", hint=hint, traceback=text)
