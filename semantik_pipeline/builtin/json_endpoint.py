"""One HTTP endpoint that is sent JSON and answers JSON: keys, bounded retries, and errors that say what to do."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts.plugin import HealthState, HealthStatus
from semantik_pipeline.errors import PermanentError, PluginConfigError, ServiceUnavailable, seconds_of

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

# A wait longer than this is left to the caller: of a stage the unit goes back, and the worker does something else.
LONGEST_WAIT = 10.0  # seconds
FIRST_BACKOFF = 0.5  # seconds; doubles
_REFUSED_INPUT = (400, 413, 422)
_BUSY = (408, 409, 425, 429)


class InputRefused(PermanentError):
    """The endpoint won't work on this request as it is (400, 413, 422)."""


@dataclass(frozen=True, kw_only=True)
class JsonEndpoint:
    """Where and how to send requests.

    ``what``: the name of the answer in errors (``embeddings``). ``key`` is never shown: it is in no error and no log.
    """

    client: httpx.AsyncClient
    url: str
    what: str
    key: str | None
    key_name: str
    max_retries: int
    first_backoff: float | None = None
    longest_wait: float | None = None

    async def post(self, body: dict[str, Any]) -> httpx.Response:
        """The answer, whose status is 200.

        Raises InputRefused, PluginConfigError (401, 403, 404), or ServiceUnavailable: after bounded retries of 429, 5xx
        and lost connections, with the server's wait, or at once where that is too long.
        """
        import httpx

        backoff = FIRST_BACKOFF if self.first_backoff is None else self.first_backoff
        longest = LONGEST_WAIT if self.longest_wait is None else self.longest_wait
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        for attempt in range(self.max_retries + 1):
            try:
                answer = await self.client.post(self.url, json=body, headers=headers)
            except httpx.TransportError as error:
                wait, said = None, f"{type(error).__name__}"
            else:
                if answer.status_code == 200:
                    return answer
                wait, said = seconds_of(answer.headers.get("retry-after")), f"HTTP {answer.status_code}"
                self._raise_if_final(answer)
            pause = backoff * 2**attempt if wait is None else wait
            if attempt == self.max_retries or pause > longest:
                break
            log.info("%s answered %s; trying again in %.1f s", self.url, said, pause)
            await asyncio.sleep(pause)
        raise ServiceUnavailable(
            f"The {self.what} endpoint {self.url} is unavailable ({said}).",
            "It is retried automatically; check base_url and the server if this persists.",
            retry_after=wait,
        )

    def _raise_if_final(self, answer: httpx.Response) -> None:
        """Raise for what another try can't mend."""
        status = answer.status_code
        if status in (401, 403):
            given = "was refused" if self.key else "is missing"
            raise PluginConfigError(
                f"{self.url} answered HTTP {status}: the key {given}.", f"Set {self.key_name} to a valid key."
            )
        if status in _REFUSED_INPUT:
            raise InputRefused(f"{self.url} answered HTTP {status}: {self._excerpt(answer)}")
        if status in _BUSY or status >= 500:
            return
        raise PluginConfigError(
            f"{self.url} answered HTTP {status}: {self._excerpt(answer)}", "Check base_url and the model's name."
        )

    def _excerpt(self, answer: httpx.Response) -> str:
        """The start of the answer's text, in one line; servers echo headers, so the key is taken out."""
        text = " ".join(answer.text.split())[:300]
        return text.replace(self.key, "***") if self.key else text


async def lists_models(base_url: str, key: str | None, seconds: float) -> HealthStatus:
    """Whether the server at ``base_url`` lists its models with this key (``GET /models``); costs nothing."""
    import httpx

    url = base_url.rstrip("/") + "/models"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=seconds) as client:
            status = (await client.get(url, headers=headers)).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return HealthStatus(HealthState.UNHEALTHY, f"{url} can't be reached ({type(error).__name__})")
    if status in (401, 403):
        return HealthStatus(HealthState.UNHEALTHY, f"{url} answered HTTP {status}: the key was refused")
    if status == 200:
        return HealthStatus(HealthState.HEALTHY, f"{url} answered")
    return HealthStatus(HealthState.UNKNOWN, f"{url} answered HTTP {status}")
