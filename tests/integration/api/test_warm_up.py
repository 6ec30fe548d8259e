"""A server loads the models of all collections before anybody asks."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from sqlalchemy import update

from semantik_pipeline import push
from semantik_pipeline.api.server import warm_up
from semantik_pipeline.ledger.tables import collections
from semantik_pipeline.push import Given
from tests.integration.conftest import FAKE_COLLECTION, Pipeline


def test_a_collection_that_fails_keeps_no_other_from_being_warmed_up(
    make_pipeline: Callable[..., Pipeline], caplog: pytest.LogCaptureFixture
) -> None:
    runtime = (pipeline := make_pipeline()).runtime
    for name in ("broken", "whole"):
        runtime.collection(name, FAKE_COLLECTION)
        push.push(runtime, [Given(unique_id="a", content="zebras graze")], collection=name)
    pipeline.run()
    wrong = FAKE_COLLECTION | {"search": {"dense_weight": 7}}
    with runtime.ledger.write() as tx:
        tx.execute(update(collections).where(collections.c.name == "broken").values(config=wrong))
    with caplog.at_level(logging.INFO):
        warm_up(runtime)
    answered = [found for (name, _), found in runtime.tally.distributions().items() if "search_step" in name]
    assert answered and all(sum(found.counts) == 1 for found in answered), "one search came to its end"
    told = [record.getMessage() for record in caplog.records if record.name.endswith("api.server")]
    assert len(told) == 1 and "'broken'" in told[0]
