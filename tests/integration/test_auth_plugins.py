"""Auth plugins: who is let in without a key, and that whatever goes wrong with a plugin lets nobody in."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from semantik_pipeline import access
from semantik_pipeline.contracts import Principal
from semantik_pipeline.errors import PluginNotFoundError
from tests.integration.test_access import refused, request


def with_auth(make_pipeline, *, deadline: float = 30.0, **config: Any):
    pipeline = make_pipeline(plugins={"fake-auth": config}, api={"auth": ["fake-auth"], "auth_deadline": deadline})
    access.check(pipeline.runtime)
    return pipeline


def test_an_auth_plugin_knows_who_has_no_key(make_pipeline):
    users = {"anna": {"role": "writer", "collections": ["a"], "principals": ["anna", "sales"]}}
    pipeline = with_auth(make_pipeline, users=users)
    found = access.authenticate(pipeline.runtime, request(X_User="anna"))
    assert found == Principal("fake-auth:anna", "writer", ["a"], ["anna", "sales"])
    key = access.create_key(pipeline.runtime, "ci", role="reader").key
    assert access.authenticate(pipeline.runtime, request(X_User="anna", X_API_Key=key)).name == "key:ci"
    refused(pipeline, request(X_User="ben"))
    access.revoke_key(pipeline.runtime, "ci")
    refused(pipeline, request(X_User="anna", X_API_Key=key))  # a key of ours that is over is no stranger's


def test_a_plugin_that_is_not_named_in_the_settings_is_never_asked(make_pipeline):
    pipeline = make_pipeline(plugins={"fake-auth": {"users": {"anna": {"role": "admin"}}}})
    refused(pipeline, request(X_User="anna"))


@pytest.mark.parametrize(
    "config",
    [
        {"fail_on": "anna"},
        {"fail_on": "anna", "fail_as": "bug"},
        {"hang_on": "anna"},
        {"answer": "anna"},
        {"answer": True},
        {"users": {"anna": {"role": "boss"}}},
    ],
    ids=str,
)
def test_whatever_goes_wrong_with_a_plugin_denies_and_is_logged(make_pipeline, caplog, config: dict[str, Any]):
    pipeline = with_auth(make_pipeline, deadline=0.3 if "hang_on" in config else 30.0, **config)
    began = time.monotonic()
    error = refused(pipeline, request(X_User="anna"))
    assert time.monotonic() - began < 10
    assert "could not be identified" in str(error)
    assert "fake-auth failed" in caplog.text
    assert pipeline.runtime.tally.counts("auth_plugin_failures")


def test_plugins_that_hang_cost_a_bounded_number_of_threads(make_pipeline, monkeypatch):
    monkeypatch.setattr(access, "_free", threading.BoundedSemaphore(2))
    pipeline = with_auth(make_pipeline, deadline=0.3, hang_on="anna")
    threads = [threading.Thread(target=refused, args=(pipeline, request(X_User="anna"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    most = 0
    while any(thread.is_alive() for thread in threads):
        most = max(most, sum(thread.name == "auth-fake-auth" for thread in threading.enumerate()))
        time.sleep(0.005)
    assert most == 2


def test_a_server_is_told_of_an_auth_plugin_that_is_not_there(make_pipeline):
    pipeline = make_pipeline(api={"auth": ["nowhere"]})
    with pytest.raises(PluginNotFoundError, match="nowhere"):
        access.check(pipeline.runtime)
    refused(pipeline, request(X_User="anna"))
