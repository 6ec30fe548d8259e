"""A mailbox on loopback: the IMAP server of the package pymap, with its in-memory backend, in a thread."""

from __future__ import annotations

import asyncio
import re
import threading
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

USERNAME, PASSWORD = "me@mail.test", "open sesame"


class ImapServer:
    """``commands`` lists the clients' commands in order. Use :meth:`as_owner` to change the mailbox like a client."""

    def __init__(self, certificate: tuple[Path, Path] | None = None, *, encrypted: bool = False) -> None:
        """``certificate``: files with a certificate and its key. With it, STARTTLS is offered; with ``encrypted``, TLS
        is used from the start."""
        self.commands: list[str] = []
        self.refused: set[int] = set()  # UIDs of messages whose content the server refuses to send
        self.refusal = "NO [SERVERBUG] Internal error occurred."
        self.port = 0
        self._certificate = certificate
        self._encrypted = encrypted
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.login: Any = None
        self._password = PASSWORD

    @property
    def config(self) -> dict[str, Any]:
        """The connector's options for this mailbox, without TLS."""
        return {"host": "127.0.0.1", "port": self.port, "tls": "off", "username": USERNAME, "password": self._password}

    @property
    def name(self) -> str:
        """The prefix of the names of its messages."""
        return f"imap://{quote(USERNAME, safe='')}@127.0.0.1:{self.port}/"

    @contextmanager
    def as_owner(self, folder: str = "INBOX") -> Iterator[Any]:
        """A client with this folder open for writing; its commands are not recorded."""
        from imapclient import IMAPClient

        before = len(self.commands)
        with IMAPClient("127.0.0.1", self.port, ssl=False) as client:
            client.login(USERNAME, self._password)
            if not client.folder_exists(folder):
                client.create_folder(folder)
            client.select_folder(folder)
            yield client
        del self.commands[before:]

    def put(self, *messages: EmailMessage | bytes, folder: str = "INBOX", flags: tuple[str, ...] = ()) -> None:
        """Append messages."""
        with self.as_owner(folder) as client:
            for message in messages:
                client.append(folder, message if isinstance(message, bytes) else message.as_bytes(), flags)

    def change_password(self, password: str) -> None:
        """Change the mailbox's password, and close every connection that was made with the old one."""
        users = self.login.users_dict
        users[USERNAME] = replace(users[USERNAME], password=password)
        self._password = password
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(5)

    def renumber(self, folder: str = "INBOX") -> None:
        """Give a folder a new UIDVALIDITY, as a server does after losing its index."""
        mailbox, _ = self.login.config.set_cache[USERNAME]
        found = asyncio.run_coroutine_threadsafe(mailbox.get_mailbox(folder), self._loop).result(5)
        found._uid_validity += 1

    def __enter__(self) -> ImapServer:
        self._thread.start()
        if not self._ready.wait(10) or self._failure is not None:
            raise RuntimeError("the IMAP server did not start") from self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        from pymap.backend.dict import DictBackend
        from pymap.imap import IMAPServer
        from pysasl.hashing import Cleartext

        about = Namespace(
            demo_data=False, demo_user=USERNAME, demo_password=PASSWORD, **self._listening(), **self._tls()
        )
        # Passwords in clear text: a secure hash would take a fifth of a second for each login.
        options = {"secure_auth": False, "invalid_user_sleep": 0.0, "hash_context": Cleartext()}
        backend, config = await DictBackend.init(about, **options)
        config.apply_context()
        self.login = backend.login
        serve = self._noting(IMAPServer(backend.login, config))
        self._stop = asyncio.Event()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(serve(reader, writer))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(lambda _: writer.close())

        context = config.ssl_context if self._encrypted else None
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        await self._hang_up()

    async def _hang_up(self) -> None:
        """Close every connection."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listening(self) -> dict[str, Any]:
        return {"host": None, "port": "0", "proxy_protocol": None, "inherited_sockets": None, "passlib_cfg": None}

    def _tls(self) -> dict[str, Any]:
        cert, key = self._certificate or (None, None)
        return {"tls": cert is not None, "cert": cert and str(cert), "key": key and str(key), "debug": False}

    def _refuses(self, command: str) -> str | None:
        """The tag of a command that requests the content of a refused message, otherwise None."""
        asked = re.fullmatch(r"(\S+) UID FETCH ([\d,]+) \(.*BODY\.PEEK.*\)", command)
        return asked[1] if asked and self.refused & {int(uid) for uid in asked[2].split(",")} else None

    def _noting(self, serve: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Wrap ``serve`` to record each line of a client, and to refuse commands for refused messages."""
        from proxyprotocol.sock import SocketInfoLocal

        async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            readline = reader.readline

            async def read() -> bytes:
                while True:
                    line = await readline()
                    self.commands.append(line.decode("utf-8", "replace").strip())
                    tag = self._refuses(self.commands[-1])
                    if tag is None:
                        return line
                    writer.write(f"{tag} {self.refusal}\r\n".encode())

            reader.readline = read  # type: ignore[method-assign]
            await serve(reader, writer, SocketInfoLocal(writer))

        return noted
