"""One HTTP endpoint that speaks ``POST /embeddings`` (OpenAI API reference, "Create embeddings")."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import DimensionMismatch, PermanentError, PluginConfigError, ServiceUnavailable

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

# A wait longer than this is left to the ledger: the unit goes back, and the worker does something else.
LONGEST_WAIT = 10.0  # seconds
FIRST_BACKOFF = 0.5  # seconds; doubles
_REFUSED_INPUT = (400, 413, 422)
_BUSY = (408, 409, 425, 429)


class InputRefused(PermanentError):
    """The endpoint won't embed this request as it is (400, 413, 422)."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how to ask. ``key`` is never shown: it is in no error and no log."""

    client: httpx.AsyncClient
    url: str
    model: str
    key: str | None
    key_name: str
    dimensions: int | None
    max_retries: int

    async def embed(self, texts: list[str]) -> list[list[float]]:
        """Vectors in the order of the texts.

        Raises InputRefused, PluginConfigError (401, 403, 404), ServiceUnavailable (after bounded retries of 429, 5xx
        and lost connections, with the server's wait), or PermanentError for an answer that is no embeddings.
        """
        import httpx

        for attempt in range(self.max_retries + 1):
            try:
                answer = await self._post(texts)
            except httpx.TransportError as error:
                wait, said = None, f"{type(error).__name__}"
            else:
                if answer.status_code == 200:
                    return self._vectors(answer, len(texts))
                wait, said = retry_after(answer), f"HTTP {answer.status_code}"
                self._raise_if_final(answer)
            pause = FIRST_BACKOFF * 2**attempt if wait is None else wait
            if attempt == self.max_retries or pause > LONGEST_WAIT:
                break
            log.info("%s answered %s; asking again in %.1f s", self.url, said, pause)
            await asyncio.sleep(pause)
        raise ServiceUnavailable(
            f"The embeddings endpoint {self.url} is unavailable ({said}).",
            "It is tried again by itself; check base_url and the server if this lasts.",
            retry_after=wait,
        )

    async def _post(self, texts: list[str]) -> httpx.Response:
        body: dict[str, Any] = {"model": self.model, "input": texts, "encoding_format": "float"}
        if self.dimensions:
            body["dimensions"] = self.dimensions
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return await self.client.post(self.url, json=body, headers=headers)

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

    def _vectors(self, answer: httpx.Response, count: int) -> list[list[float]]:
        try:
            rows = sorted(answer.json()["data"], key=lambda row: row["index"])
            indices = [row["index"] for row in rows]
            vectors = [row["embedding"] for row in rows]
            finite = all(math.isfinite(value) for vector in vectors for value in vector)
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"{self.url} answered with no embeddings ({type(error).__name__}).") from None
        if indices != list(range(count)):
            raise PermanentError(f"{self.url} answered with {len(indices)} vectors for {count} texts.")
        if not finite:
            raise PermanentError(f"{self.url} answered with a vector that is not finite (NaN or infinity).")
        lengths = {len(vector) for vector in vectors}
        if len(lengths) > 1 or (self.dimensions and lengths != {self.dimensions}):
            raise DimensionMismatch(
                f"{self.url} answered with vectors of {sorted(lengths)} numbers for dimensions={self.dimensions}.",
                "Set dimensions to what the model gives, or leave it out.",
            )
        return vectors


def retry_after(answer: httpx.Response) -> float | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110: seconds or a date); None: not said or unreadable."""
    said = answer.headers.get("retry-after")
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
