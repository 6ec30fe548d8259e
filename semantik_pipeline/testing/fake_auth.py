"""An auth plugin that trusts a header. For tests only: any caller that sends the header gets access."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from semantik_pipeline.contracts.auth import AuthPlugin, AuthRequest, Principal
from semantik_pipeline.testing.misbehaviour import OPTIONS, Misbehaviour


class FakeAuth(AuthPlugin):
    """Identifies ``users`` (name -> ``{"role", "collections", "principals"}``) by the header ``X-User``.

    For a user named in ``fail_on`` or ``hang_on`` it misbehaves; ``sleep_ms_per_text`` delays it; ``answer`` is the
    result for every request.
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
