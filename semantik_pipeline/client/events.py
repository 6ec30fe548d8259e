"""Server-sent events: turns lines into events, and resumes a broken stream where it stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from httpx import Response, TransportError

from semantik_pipeline.client.calls import Call
from semantik_pipeline.client.failures import failure_of, unreachable
from semantik_pipeline.client.retries import Retries

#: Seconds without data after which a stream is considered broken; the server sends something every 15.
SILENCE = 45.0


@dataclass(kw_only=True)
class Stream:
    """The state of a stream: the last event, and whether it is over. ``tries`` counts connections since that event."""

    call: Call[Any]
    retries: Retries
    url: str
    over: bool = False
    last_id: str | None = None
    pause: float = 1.0
    tries: int = 0
    _name: str = "message"
    _id: str | None = None
    _data: list[str] = field(default_factory=list)

    def request(self) -> Call[Any]:
        """The request to send now."""
        self._name, self._id, self._data = "message", None, []
        return replace(self.call, headers={**self.call.headers, "Last-Event-ID": self.last_id})

    def opened(self, response: Response) -> None:
        """Check the response's status. An error, whose body must have been read, is raised unless it is temporary."""
        if response.status_code == 204:
            self.over = True
        elif response.status_code != 200:
            self.tries += 1
            wait = self.retries.pause(self.call, self.tries, response)
            if wait is None:
                raise failure_of(response)
            self.pause = wait

    def broke(self, error: TransportError) -> None:
        """Handle a lost connection. Raises ServiceUnavailable if this has happened too often in a row."""
        self.tries += 1
        wait = self.retries.pause(self.call, self.tries, error)
        if wait is None:
            raise unreachable(self.url, error) from error
        self.pause = wait

    def line(self, line: str) -> dict[str, Any] | None:
        """Process a line. Returns the data of the event if the line completes one."""
        if line:
            name, _, value = line.partition(":")
            self._take(name, value.removeprefix(" "))
            return None
        if not self._data:
            return None
        data, self._data = "\n".join(self._data), []
        self.last_id, self.over, self.tries = self._id, self._name == "finished", 0
        self._name = "message"
        return json.loads(data)

    def _take(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isdigit():
            self.pause = int(value) / 1000
