"""What the OpenAPI document promises, asked by Schemathesis: no server error, no answer that it does not name."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.api.conftest import Api
from tests.integration.conftest import FAKE_COLLECTION, texts

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

#: Requests for each operation, of those that fit its schema and of those that don't.
FITTING, UNFIT = 3, 2

#: It answers until its operation has ended; its own tests follow it.
ENDLESS = {"operations_events"}


@pytest.fixture
def api(make_api: Callable[..., Api], tmp_path: Path) -> Api:
    """An API that lets anybody ask as often as they like, over documents, a source and an operation."""
    quiet = {"rate": "", "unauthenticated_rate": ""}
    api = make_api(api=quiet, collection=FAKE_COLLECTION, search={"reranker": "fake-reranker"})
    api.pipeline.folder(texts(tmp_path / "notes", one="First things.", two="Second things."))
    return api


def test_the_api_keeps_what_its_document_promises(api: Api) -> None:
    keeps_its_promises(api, FITTING, UNFIT)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_it_does_where_names_can_meet_however_long_it_is_asked(api: Api, tmp_path: Path) -> None:
    """There are two collections and three sources, two of them in one, so what is asked for by name may be taken."""
    for name, collection in (("one", "default"), ("two", "default"), ("two", "other")):
        new = {
            "connector": "directory",
            "name": name,
            "collection": collection,
            "config": {"path": str(tmp_path / "notes")},
        }
        api.good(api.post("/sources", json=new), 201)
    keeps_its_promises(api, 10 * FITTING, 10 * UNFIT, known=random.Random(20260101))


#: What there is, by the names of parameters and fields.
THERE = {
    "name": ["one", "two", "default", "other"],
    "collection": ["default", "other"],
    "source_id": [1, 2, 3, 4],
    "document_id": [1, 2],
    "operation": ["sync-1"],
}


def speak_of_what_is_there(case: schemathesis.Case, chance: random.Random) -> None:
    """Let half of what the request names be something that there is."""
    for said in (case.path_parameters, case.query, case.body):
        for field in said if isinstance(said, dict) else ():
            if field in THERE and chance.random() < 0.5:
                said[field] = chance.choice(THERE[field])


def keeps_its_promises(api: Api, fitting: int, unfit: int, known: random.Random | None = None) -> None:
    schema = schemathesis.openapi.from_asgi("/api/v2/openapi.json", api.client.app)
    asked: set[str] = set()
    wrong: list[str] = []
    headers = {"Authorization": f"Bearer {api.keys['admin']}"}
    for found in schema.get_all_operations():
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        if name in ENDLESS:
            continue
        for mode, examples in ((GenerationMode.POSITIVE, fitting), (GenerationMode.NEGATIVE, unfit)):
            try:
                ask(operation, mode, examples, headers, known if mode is GenerationMode.POSITIVE else None)
            except Unsatisfiable as error:
                if mode is GenerationMode.POSITIVE:
                    wrong.append(f"{name}: no request fits: {error}")
                continue  # nothing unfit can be sent to an operation without parameters
            except (Exception, BaseExceptionGroup) as error:  # groups of failures are of the latter kind
                inner = [str(one) for one in getattr(error, "exceptions", ())]
                wrong.append("\n".join([f"{name}, {mode.value}: {error}", *inner]))
            asked.add(name)
    assert not wrong, "\n\n".join(wrong)
    assert len(asked) > 60


def ask(
    operation: Any, mode: GenerationMode, examples: int, headers: dict[str, str], known: random.Random | None
) -> None:
    """Send so many requests; raises what is wrong with an answer."""

    @seed(20260101)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: schemathesis.Case) -> None:
        if known is not None:
            speak_of_what_is_there(case, known)
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=60)

    send()
