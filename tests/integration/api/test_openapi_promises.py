"""What the OpenAPI document promises, asked by Schemathesis: no server error, no answer that it does not name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
    quiet = {"rate": "", "refused_rate": ""}
    api = make_api(api=quiet, collection=FAKE_COLLECTION, search={"reranker": "fake-reranker"})
    api.pipeline.folder(texts(tmp_path / "notes", one="First things.", two="Second things."))
    return api


def test_the_api_keeps_what_its_document_promises(api: Api) -> None:
    schema = schemathesis.openapi.from_asgi("/api/v2/openapi.json", api.client.app)
    asked: set[str] = set()
    wrong: list[str] = []
    headers = {"Authorization": f"Bearer {api.keys['admin']}"}
    for found in schema.get_all_operations():
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        if name in ENDLESS:
            continue
        for mode, examples in ((GenerationMode.POSITIVE, FITTING), (GenerationMode.NEGATIVE, UNFIT)):

            @seed(20260101)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case) -> None:
                case.call_and_validate(headers=headers, checks=CHECKS, timeout=60)

            try:
                ask()
            except Unsatisfiable:  # nothing unfit can be sent to an operation without parameters
                continue
            except Exception as error:
                inner = [str(one) for one in getattr(error, "exceptions", ())]
                wrong.append("\n".join([f"{name}, {mode.value}: {error}", *inner]))
            asked.add(name)
    assert not wrong, "\n\n".join(wrong)
    assert len(asked) > 60
