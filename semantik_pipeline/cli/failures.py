"""What an exception becomes for the person who typed the command: a line that names the thing, and the way out."""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass
from typing import Any

from semantik_pipeline.cli.wording import printable
from semantik_pipeline.errors import PipelineError

#: As shells have it: 128 + SIGINT.
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class FailureReport:
    """An error as it is told. ``unforeseen``: nobody meant this one to happen, so its traceback is worth asking for."""

    type: str
    message: str
    hint: str | None = None
    exit_code: int = 1
    traceback: str | None = None
    unforeseen: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.type, "message": self.message, "hint": self.hint}

    def lines(self, *, verbose: bool) -> list[str]:
        """For standard error: the message, then the hint. Control characters are escaped, so each stays one line."""
        if self.unforeseen:
            message = f"{self.type}: {self.message}" if self.message else self.type
            hint = None if verbose else "Nobody foresaw this one: run again with --verbose to see where it comes from."
        else:
            message, hint = self.message, self.hint
        return [f"error: {printable(message)}", *([f"  {printable(hint)}"] if hint else [])]


def no_command(error: BaseException) -> bool:
    """Whether a group was called without a command: what Typer raises then is the group's help, and has no public name."""
    return type(error).__name__ == "NoArgsIsHelpError"


def describe(error: BaseException) -> FailureReport:
    """The report of an exception. PipelineError knows its exit code and hint; what the system says is translated."""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, PipelineError):
        return FailureReport(
            type=type(error).__name__,
            message=error.message or type(error).__name__,
            hint=error.hint,
            exit_code=error.exit_code,
            traceback=text,
        )
    if hasattr(error, "format_message"):  # Typer's own, whichever way its version spells the class
        hint = _help_of(error)
        code = getattr(error, "exit_code", 2)
        message = "No command is given." if no_command(error) else error.format_message()
        return FailureReport(type="UsageError", message=message, hint=hint, exit_code=code)
    if isinstance(error, OSError) and error.errno is not None:
        return _system_error(error, text)
    return FailureReport(type=type(error).__name__, message=str(error), traceback=text, unforeseen=True)


def _help_of(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'semantik'} --help` shows how."


_WAYS_OUT = {
    errno.ENOSPC: "Free disk space and run the same command again; what was committed is safe.",
    errno.EDQUOT: "Free disk space and run the same command again; what was committed is safe.",
    errno.EACCES: "Ask for the right to read it (`ls -ld` on it and on the folders above shows whose it is), or name another.",
    errno.EPERM: "Ask for the right to do this, or name another file or folder.",
    errno.EROFS: "Name a place that can be written to: `--data-dir` says where the pipeline keeps its own.",
    errno.ENAMETOOLONG: "Name a shorter path: see whether several were quoted into one.",
    errno.ELOOP: "Follow the links with `ls -l`: they lead to each other.",
    errno.EMFILE: "Let this process open more files (`ulimit -n`), and run the same command again.",
}


def _system_error(error: OSError, text: str) -> FailureReport:
    """A file that can't be read or written, a full disk: the system's own words, and the name of the file."""
    hint = _WAYS_OUT.get(error.errno or 0)
    where = f"{error.filename}: " if error.filename else ""
    return FailureReport(type=type(error).__name__, message=f"{where}{error.strerror}.", hint=hint, traceback=text)
