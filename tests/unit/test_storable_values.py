"""What plugins say of documents, as a ledger and an answer can hold it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from pydantic import TypeAdapter

from semantik_pipeline.stages.parsing import MOST_LEVELS, storable_values


def nested(levels: int, kind: type = list) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value} if kind is dict else kind([value])
    return value


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0


def test_what_lies_too_deep_is_kept_as_its_text() -> None:
    assert storable_values(nested(MOST_LEVELS)) == nested(MOST_LEVELS)
    deeper = storable_values({"tree": nested(MOST_LEVELS + 2)})
    assert depth(deeper) == MOST_LEVELS
    while not isinstance(deeper, str):
        deeper = deeper["tree"] if isinstance(deeper, dict) else deeper[0]
    assert deeper == "[[[1]]]"


def test_whatever_its_depth_it_can_be_answered() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (nested(300), nested(300, dict), nested(5_000), nested(5_000, tuple), endless):
        TypeAdapter(dict[str, Any]).dump_json({"metadata": storable_values({"tree": value})})


def test_a_set_is_stored_in_the_same_order_by_every_process() -> None:
    code = (
        "from semantik_pipeline.stages.parsing import storable_values as s;"
        "print(s({'tags': {'red', 'green', 'blue', 'grey'}, 'more': frozenset({3, 'a', None})}))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1, told
