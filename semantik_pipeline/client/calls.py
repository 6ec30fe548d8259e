"""Requests as values. A resource's method builds a :class:`Call`; a client sends it, either directly or when awaited.

Each request of the API is therefore defined only once: ``@request("collections_show", "GET /collections/{name}")``
turns a function that builds a call into a method of both kinds of resources, with the correct return type for each.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload
from urllib.parse import quote

if TYPE_CHECKING:
    from semantik_pipeline.client.clients import AsyncClient, Client

T = TypeVar("T")
S = TypeVar("S", bound="Client | AsyncClient")
P = ParamSpec("P")


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file to upload: ``content`` is its bytes or its path; ``name`` is its document id."""

    name: str
    content: bytes | Path
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """A request.

    ``at`` fills in the path's parameters. Values of ``query`` that are None are left out. ``form`` and ``files`` are
    sent as ``multipart/form-data``; otherwise ``json`` is sent, in which any mappings and collections may occur.
    ``read`` is the type that the body is read as: json, bytes or text. With ``into``, the body is streamed to that file
    instead. ``timeout``: seconds, for a response that takes longer than usual.

    ``repeatable``: sending it twice has the effect of sending it once, so it is sent again if it may not have arrived.
    """

    at: Mapping[str, str | int] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    files: Sequence[Upload] = ()
    headers: Mapping[str, str | None] = field(default_factory=dict)
    read: str = "json"
    into: Path | None = None
    timeout: float | None = None
    good: frozenset[int] = frozenset()
    method: str = "GET"
    path: str = ""
    repeatable: bool = False

    @property
    def url(self) -> str:
        """The path with its parameters, relative to the API's base path."""
        return self.path.format_map({name: quote(str(value), safe="") for name, value in self.at.items()})


def _plain(value: Any) -> Any:
    """Convert a value to JSON types: any mapping becomes an object, any other collection an array."""
    if isinstance(value, str | bytes | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, Iterable) else value


class Resource(Generic[S]):
    """Requests for one kind of object."""

    def __init__(self, client: S) -> None:
        self._client = client


class Request(Generic[P, T]):
    """A method of a resource, which sends the call that ``build`` returns. ``operation`` is its id in the OpenAPI
    document."""

    def __init__(
        self, build: Callable[Concatenate[Any, P], Call[T]], operation: str, line: str, *, repeatable: bool
    ) -> None:
        self.build = build
        self.operation = operation
        self.method, _, self.path = line.partition(" ")
        self.repeatable = repeatable
        functools.update_wrapper(self, build)  # type: ignore[arg-type]

    def call(self, *given: P.args, **named: P.kwargs) -> Call[T]:
        """The request as a value."""
        built = self.build(None, *given, **named)
        # the server recognizes a request with an idempotency key when it is repeated
        again = self.repeatable or built.headers.get("Idempotency-Key") is not None
        return replace(built, method=self.method, path=self.path, json=_plain(built.json), repeatable=again)

    @overload
    def __get__(self, resource: None, owner: Any) -> Request[P, T]: ...

    @overload
    def __get__(self, resource: Resource[Client], owner: Any) -> Callable[P, T]: ...

    @overload
    def __get__(self, resource: Resource[AsyncClient], owner: Any) -> Callable[P, Awaitable[T]]: ...

    def __get__(self, resource: Any, owner: Any) -> Any:
        if resource is None:
            return self

        @functools.wraps(self.build)
        def method(*given: P.args, **named: P.kwargs) -> Any:
            return resource._client.send(self.call(*given, **named))

        return method


def request(
    operation: str, line: str, *, repeatable: bool | None = None
) -> Callable[[Callable[Concatenate[Any, P], Call[T]]], Request[P, T]]:
    """Decorate a resource's method. ``line`` is ``METHOD /path/{parameter}``. By default, ``repeatable`` follows from
    the HTTP method."""

    def decorate(build: Callable[Concatenate[Any, P], Call[T]]) -> Request[P, T]:
        again = line.startswith(("GET ", "PUT ")) if repeatable is None else repeatable
        return Request(build, operation, line, repeatable=again)

    return decorate


class Pages(Generic[P, T]):
    """A method that requests one page after another and yields the entries in each page's ``key``."""

    def __init__(self, listing: Request[P, Any], key: str) -> None:
        self._listing = listing
        self._key = key
        self.__doc__ = f"All {key}, page by page as they are taken; ``limit`` is the size of a page."

    @overload
    def __get__(self, resource: None, owner: Any) -> Pages[P, T]: ...

    @overload
    def __get__(self, resource: Resource[Client], owner: Any) -> Callable[P, Iterator[T]]: ...

    @overload
    def __get__(self, resource: Resource[AsyncClient], owner: Any) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(self, resource: Any, owner: Any) -> Any:
        if resource is None:
            return self

        def method(*given: P.args, **named: P.kwargs) -> Any:
            return resource._client.pages(self._listing.call(*given, **named), self._key)

        method.__doc__ = self.__doc__
        return method


def following(call: Call[Any], page: Mapping[str, Any]) -> Call[Any] | None:
    """The request for the page after this one, or None if this is the last."""
    cursor = page["next_cursor"]
    return None if cursor is None else replace(call, query={**call.query, "cursor": cursor})
