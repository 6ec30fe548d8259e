"""The requirements for every auth plugin, as a test class for authors.

Subclass :class:`AuthContract` in your tests; give it your plugin and a request that it knows::

    class TestMine(AuthContract):
        known = AuthRequest("GET", "/api/v2/collections", {"x-user": "anna"})

        def make_plugin(self):
            return MyAuth()
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.contracts.auth import AuthPlugin, AuthRequest, Principal


class AuthContract:
    """Tests that every auth plugin must pass. If yours asks a server, return a plugin that asks a test double."""

    known: AuthRequest

    def make_plugin(self) -> AuthPlugin:
        raise NotImplementedError("Return the plugin under test.")

    def answers(self, *requests: AuthRequest) -> list[Principal | None]:
        """The results of a new plugin for these requests, made one after the other."""

        async def life() -> list[Principal | None]:
            plugin = self.make_plugin()
            await plugin.initialize()
            try:
                return [await plugin.authenticate(request) for request in requests]
            finally:
                await plugin.cleanup()

        return asyncio.run(life())

    def test_knows_whom_it_should(self) -> None:
        (found,) = self.answers(self.known)
        assert isinstance(found, Principal)
        assert found.name.strip()

    def test_leaves_strangers_to_others(self) -> None:
        stranger = replace(self.known, headers={})
        assert self.answers(stranger) == [None], "a request without credentials is for the next plugin, no error"

    def test_remembers_nobody(self) -> None:
        stranger = replace(self.known, headers={})
        first, then, again = self.answers(self.known, stranger, self.known)
        assert (first, then) == (again, None), "an answer depends on its request alone"

    def test_no_credential_is_shown(self) -> None:
        (found,) = self.answers(self.known)
        shown = repr(found)
        secrets = [value for name, value in self.known.headers.items() if name in ("authorization", "cookie")]
        assert not [value for value in secrets if value in shown]

    def test_anything_may_be_sent(self) -> None:
        names = sorted(self.known.headers)

        @settings(max_examples=25, deadline=None)
        @given(st.lists(st.text(max_size=80), min_size=len(names), max_size=len(names)))
        def lets_nobody_in(values: list[str]) -> None:
            headers = dict(zip(names, values, strict=True))
            try:
                (found,) = self.answers(replace(self.known, headers=headers))
            except Exception:
                return  # access was denied
            assert found is None or headers == dict(self.known.headers)

        lets_nobody_in()
