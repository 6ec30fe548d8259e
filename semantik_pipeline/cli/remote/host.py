"""``semantik doctor`` and ``semantik models`` on a server: they report on the server's host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semantik_pipeline.cli.doctor import CODES, show_findings
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.models import show_models, show_place
from semantik_pipeline.doctor import Finding
from semantik_pipeline.errors import NotFound, PluginLoadError

if TYPE_CHECKING:
    from semantik_pipeline.client import Client


def doctor(call: Invocation, client: Client) -> int:
    answer = client.host.doctor()
    findings = [Finding(**one) for one in answer["findings"]]
    call.output.give({**answer}, lambda console: show_findings(console, findings))
    return CODES[answer["status"]]


def list_models(call: Invocation, client: Client) -> int:
    answer = client.host.models()
    found = [{**one} for one in answer["models"]]
    call.output.give({**answer}, lambda console: show_models(console, found, answer["models_dir"]))
    return 0


def where(call: Invocation, client: Client, *, name: str) -> int:
    try:
        answer = {**client.host.models_where(name)}
    except NotFound as error:  # the same error as without a server
        raise PluginLoadError(error.message, error.hint) from None
    call.output.give(answer, lambda console: show_place(console, answer))
    return 0
