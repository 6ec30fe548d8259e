"""An auth plugin that believes what it is told. For tests alone: whoever sends the header is in."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from semantik_pipeline.contracts.auth import AuthPlugin, AuthRequest, Principal
from semantik_pipeline.testing.misbehaviour import OPTIONS, Misbehaviour


class FakeAuth(AuthPlugin):
    """Knows ``users`` (name -> ``{"role", "collections", "principals"}``) by the header ``X-User``.

    A user of ``fail_on``, ``hang_on`` or ``sleep_ms_per_text`` misbehaves; ``answer`` gives every request this value.
    """

    PLUGIN_ID = "fake-auth"
    PLUGIN_VERSION = "1.0.0"
    METADATA: ClassVar[dict[str, Any]] = {"name": "Fake auth", "description": "Believes a header."}

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "users": {"type": "object", "default": {"anna": {"role": "reader"}}},
                "answer": {"description": "What to answer whatever is asked."},
                **OPTIONS,
            },
        }

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        user = request.header("x-user")
        if "answer" in self.config:
            return self.config["answer"]
        if user is None:
            return None
        odd = Misbehaviour(self.config)
        if odd.hangs(user):
            await asyncio.Event().wait()
        odd.strike(user)
        await asyncio.sleep(odd.seconds)
        known = self.config.get("users", {"anna": {"role": "reader"}})
        return Principal(user, **known[user]) if user in known else None
