"""Runs checks concurrently, each with a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from semantik_pipeline.doctor.findings import Finding, broken
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.plugins.secrets import scrub
from semantik_pipeline.runtime import Runtime

#: Default time limit of a check in seconds.
SECONDS = 5.0


@dataclass(kw_only=True)
class Patient:
    """The installation under examination.

    The first checks set the other fields, which later checks read: whether the ledger works, whether the plugins are
    loaded, which generations exist, and which connectors the sources use.
    """

    runtime: Runtime
    ledger: bool = False
    plugins: bool = False
    generations: list[Generation] = field(default_factory=list)
    connectors: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: ``look`` runs for up to ``seconds``; ``remedy`` is what to do if it fails or hangs."""

    name: str
    look: Callable[[Patient], Iterable[Finding]]
    remedy: str
    seconds: float = SECONDS
    of_ledger: bool = False  # it needs the ledger, and is skipped if the ledger does not work
    of_plugins: bool = False  # it needs plugins, and is skipped if they could not be loaded


def examine(runtime: Runtime) -> list[Finding]:
    """Return all findings, in the order of the checks.

    Servers and the state file are checked first, because what else to check depends on the ledger.
    """
    from semantik_pipeline.doctor import extensions, hosts, servers, stores, work

    patient = Patient(runtime=runtime)
    first = side_by_side([*servers.CHECKS, *hosts.CHECKS, extensions.STATE], patient)
    then = [*stores.CHECKS, *extensions.CHECKS, *work.CHECKS]
    return first + side_by_side([check for check in then if _possible(check, patient)], patient)


def _possible(check: Check, patient: Patient) -> bool:
    return (patient.ledger or not check.of_ledger) and (patient.plugins or not check.of_plugins)


def side_by_side(checks: Sequence[Check], patient: Patient) -> list[Finding]:
    """Run each check in a thread of its own and return the findings; a check that hangs is also a finding."""
    began = time.monotonic()
    answers = [(check, _start(check, patient)) for check in checks]
    return [finding for check, answer in answers for finding in _findings(check, answer, began + check.seconds)]


def _start(check: Check, patient: Patient) -> Future[list[Finding]]:
    answer: Future[list[Finding]] = Future()

    def work() -> None:
        try:
            answer.set_result(list(check.look(patient)))
        except BaseException as error:  # a plugin may raise anything, including SystemExit
            answer.set_exception(error)

    # a daemon thread: a check that hangs must not keep the process from ending
    threading.Thread(target=work, name=f"doctor-{check.name}", daemon=True).start()
    return answer


def _findings(check: Check, answer: Future[list[Finding]], until: float) -> list[Finding]:
    try:
        return answer.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        if not answer.done():
            return [broken(check.name, f"no answer within {check.seconds:g} s", check.remedy)]
        return [broken(check.name, "timed out", check.remedy)]
    except PipelineError as error:
        return [broken(check.name, scrub(error.message or type(error).__name__), error.hint or check.remedy)]
    except BaseException as error:
        told = " ".join(str(error).split())
        what = f"{type(error).__name__}: {told}" if told else type(error).__name__
        return [broken(check.name, scrub(what), check.remedy)]
