"""The names in the OpenAPI document, from which clients generate their types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.api.conftest import Api

#: What the name of a request's body ends in; FastAPI names those of forms.
BODIES = ("Request", "Create", "Update")


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return api.client.app.openapi()  # type: ignore[attr-defined]  # a FastAPI


def bodies(document: dict[str, Any]) -> Iterator[str]:
    for operations in document["paths"].values():
        for operation in operations.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schema = content["schema"]
                yield (schema.get("$ref") or schema["anyOf"][0]["$ref"]).rpartition("/")[2]


def test_every_schema_says_what_it_is(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    values = {name for name, schema in schemas.items() if "properties" not in schema}
    assert [
        name
        for name in schemas
        if not name.startswith("Body_") and name not in values and not schemas[name].get("description")
    ] == []


def test_the_name_of_a_body_says_that_it_is_one(document: dict[str, Any]) -> None:
    names = set(bodies(document))
    assert len(names) > 15
    assert [name for name in names if not name.startswith("Body_") and not name.endswith(BODIES)] == []
