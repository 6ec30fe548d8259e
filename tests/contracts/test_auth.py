"""The fake auth plugin keeps the contract that authors are given, and the contract notices one that does not."""

from __future__ import annotations

import pytest

from semantik_pipeline.contracts.auth import AuthPlugin, AuthRequest, Principal
from semantik_pipeline.testing.auth import AuthContract
from semantik_pipeline.testing.fake_auth import FakeAuth

KNOWN = AuthRequest("GET", "/api/v2/collections", {"X-User": "anna"})


class TestFake(AuthContract):
    known = KNOWN

    def make_plugin(self):
        return FakeAuth()


class Trusting(AuthPlugin):
    """Lets everybody in."""

    PLUGIN_ID = "trusting"

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        return Principal(request.header("x-user") or "somebody")


class Remembering(AuthPlugin):
    """Takes whoever comes next for the last one that it knew."""

    PLUGIN_ID = "remembering"
    last: Principal | None = None

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        if request.header("x-user") == "anna":
            self.last = Principal("anna")
        return self.last


def contract_of(plugin: type[AuthPlugin]) -> AuthContract:
    made = AuthContract()
    made.known, made.make_plugin = KNOWN, plugin
    return made


def test_the_contract_notices_plugins_that_open_to_strangers():
    with pytest.raises(AssertionError):
        contract_of(Trusting).test_leaves_strangers_to_others()
    with pytest.raises(AssertionError):
        contract_of(Trusting).test_anything_may_be_sent()
    contract_of(Remembering).test_leaves_strangers_to_others()
    with pytest.raises(AssertionError):
        contract_of(Remembering).test_remembers_nobody()
