"""The fields that a connector's schema declares, for forms."""

from __future__ import annotations

from typing import Any

import pytest

from semantik_pipeline.contracts import ConnectorPlugin

FLAT = {
    "host": {"type": "str", "required": True},
    "port": {"type": "int", "default": 993},
    "token": {"type": "password"},
    "key": {"type": "string", "secret": True},
}
FULL = {
    "type": "object",
    "required": ["host"],
    "properties": {
        "host": {"type": "string"},
        "port": {"type": "integer", "default": 993},
        "token": {"type": "string", "format": "password"},
        "key": {"type": "string", "secret": True},
    },
}


@pytest.mark.parametrize("schema", [FLAT, FULL], ids=["flat", "full"])
def test_a_flat_schema_declares_the_same_fields_as_a_full_one(schema: dict[str, Any]) -> None:
    class Connector(ConnectorPlugin):
        @classmethod
        def get_config_schema(cls) -> dict[str, Any]:
            return schema

    assert Connector.get_secret_fields() == ["token", "key"]
    fields = [(one["name"], one["type"], one["required"], one["default"]) for one in Connector.get_config_fields()]
    assert fields == [
        ("host", "string", True, None),
        ("port", "integer", False, 993),
        ("token", "string", False, None),
        ("key", "string", False, None),
    ]


def test_without_a_schema_there_are_no_fields() -> None:
    assert ConnectorPlugin.get_config_fields() == [] and ConnectorPlugin.get_secret_fields() == []
