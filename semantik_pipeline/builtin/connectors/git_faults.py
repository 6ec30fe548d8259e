"""Translates errors of a Git remote into errors of this project."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.errors import (
    CredentialsRejected,
    PermanentError,
    PipelineError,
    PluginConfigError,
    ServiceUnavailable,
    TransientError,
    seconds_of,
)

#: Messages with which ssh, and servers behind it, refuse access.
_REFUSALS = ("permission denied", "authentication failed", "access denied", "could not read username")

#: Messages for a repository that does not exist, from git itself, its daemon, and hosts behind ssh.
_MISSING = ("does not appear to be a git repository", "not exported", "repository not found", "could not be found")

_WAY_OUT = "Check username and password_env (or, with ssh, the keys of the user that runs the workers)."


class Answers:
    """Wraps a pool of HTTP connections to translate refusals while their headers are still available."""

    def __init__(self, pool: Any, name: str) -> None:
        self._pool = pool
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def request(self, method: str, url: str, **options: Any) -> Any:
        from urllib3 import Retry

        retries = Retry(3, respect_retry_after_header=False)  # do not block a thread: the ledger schedules the wait
        answer = self._pool.request(method, url, retries=retries, **options)
        wait = answer.headers.get("Retry-After")
        if answer.status == 401 or (answer.status == 403 and wait is None):
            raise CredentialsRejected(f"{self._name} refuses access (HTTP {answer.status}).", _WAY_OUT)
        if answer.status in (403, 429) or answer.status >= 500:
            raise ServiceUnavailable(f"{self._name} answers HTTP {answer.status}.", retry_after=seconds_of(wait))
        return answer


def meaning(error: Exception, name: str) -> PipelineError:
    """The error of this project for an error that the Git client raised for the repository with this name."""
    from dulwich.client import HTTPProxyUnauthorized
    from dulwich.errors import GitProtocolError, HangupException, NotGitRepository

    if isinstance(error, PipelineError):
        return error
    if isinstance(error, FileNotFoundError) and error.filename == "ssh":
        return PluginConfigError(
            f"{name} is reached by ssh, but ssh is not installed here.",
            "Install it where the workers run (Debian: openssh-client), or give an https URL.",
        )
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, NotGitRepository) or any(words in told.lower() for words in _MISSING):
        return PluginConfigError(
            f"There is no Git repository at {name}.",
            "Check the url; a private repository may need username and password_env.",
        )
    if isinstance(error, HTTPProxyUnauthorized):
        return PermanentError(f"The proxy for {name} requires credentials.", "Set them in https_proxy.")
    if "host key verification failed" in told.lower():
        return PermanentError(f"ssh does not know the host of {name}.", "Add it to known_hosts of the workers' user.")
    if any(refusal in told.lower() for refusal in _REFUSALS):
        return CredentialsRejected(f"{name} refuses access: {told}", _WAY_OUT)
    if isinstance(error, OSError | HangupException) or isinstance(error.__cause__, Exception):
        return ServiceUnavailable(f"{name} can't be reached: {told}")
    if isinstance(error, GitProtocolError):
        return TransientError(f"{name} could not be fetched: {told}")
    return PermanentError(f"{name} could not be fetched: {type(error).__name__}: {told}")
