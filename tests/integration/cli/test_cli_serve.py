"""How a server ends: a real process, with a search in hand that never comes to its end."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from semantik_pipeline.ownership import OWNER_NOTE, read_note
from tests.integration.cli.conftest import SETTINGS, CommandLine

#: The fake embedder never comes back from a text with this word.
HANGS = "NEVER"


class Server:
    """A server whose first question takes for ever."""

    def __init__(self, cli: CommandLine, soft_shutdown: float) -> None:
        text = f"{SETTINGS}\n[worker]\nsoft_shutdown = {soft_shutdown}\n"
        Path(cli.environment["SEMANTIK_CONFIG"]).write_text(text)
        cli.data.mkdir()
        state = {"version": 1, "disabled_ids": [], "configs": {"fake-embedder": {"hang_on": HANGS}}}
        (cli.data / "plugins.json").write_text(json.dumps(state))
        self.process = cli.start("serve", "--port", 0)
        note, until = cli.data / OWNER_NOTE, time.monotonic() + 120
        while "url" not in (found := read_note(note) or {}):
            assert self.process.poll() is None and time.monotonic() < until, "no server"
            time.sleep(0.05)
        self.address = urlsplit(found["url"])
        self.key = (cli.data / "admin.key").read_text().strip()

    @contextmanager
    def asked(self) -> Iterator[None]:
        """The question is in hand: the server has said that it reads its body."""
        body = json.dumps({"query": HANGS}).encode()
        head = (
            f"POST /api/v2/search HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        )
        with closing(socket.create_connection((self.address.hostname, self.address.port), timeout=60)) as asking:
            asking.sendall(head.encode())
            assert asking.recv(100).startswith(b"HTTP/1.1 100")
            asking.sendall(body)
            yield

    def accepts(self) -> bool:
        try:
            with closing(socket.create_connection((self.address.hostname, self.address.port), timeout=5)):
                return True
        except OSError:
            return False

    def ended(self) -> tuple[int, str]:
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err.decode("utf-8", "replace")


def served(cli: CommandLine, papers: Path, soft_shutdown: float) -> Server:
    server = Server(cli, soft_shutdown)
    done = cli("index", papers / "leases.md")
    assert done.code == 0, done.err
    return server


def test_a_server_ends_in_time_although_a_search_does_not(cli: CommandLine, papers: Path) -> None:
    server = served(cli, papers, soft_shutdown=1)
    with server.asked():
        server.process.send_signal(signal.SIGTERM)
        code, told = server.ended()
    assert code == 0, told
    assert "1 requests are not finished" in told and "Traceback" not in told
    done = cli("search", "when does a lease expire", "--json")  # the folder is free, and as it was
    assert done.json()["hits"], done.err


def test_a_second_signal_ends_a_server_at_once(cli: CommandLine, papers: Path) -> None:
    server = served(cli, papers, soft_shutdown=600)
    with server.asked():
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 60
        while server.accepts():
            assert time.monotonic() < until and server.process.poll() is None
            time.sleep(0.05)
        server.process.send_signal(signal.SIGTERM)
        code, told = server.ended()
    assert code == 128 + signal.SIGTERM, told


def test_a_server_with_nothing_in_hand_closes_what_it_has(cli: CommandLine, papers: Path) -> None:
    server = served(cli, papers, soft_shutdown=600)
    server.process.send_signal(signal.SIGINT)
    code, told = server.ended()
    assert code == 0, told
    assert not (cli.data / OWNER_NOTE).exists()
