"""The addresses that a crawler may connect to, and a transport that refuses all others.

For each request, the host name is resolved once, all its addresses are checked, and the connection goes to a checked
address and not to the name. Therefore a name that resolves differently a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable

import httpx

from semantik_pipeline.errors import PermanentError, TransientError

#: ``resolve(host, port)`` returns the addresses of a host as text.
Resolve = Callable[[str, int], Awaitable[list[str]]]

DEFAULT_PORTS = {"http": 80, "https": 443}

#: Maximum number of addresses of one host that are tried in turn.
MAX_ADDRESSES = 4

#: IPv6 prefixes that carry an IPv4 address in their last 32 bits (RFC 6052, and RFC 4291's deprecated form).
_CARRIERS = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


class AddressRefused(PermanentError):
    """The host is on a private network, and the source does not allow that."""


class UnknownHost(TransientError):
    """The name of the host does not resolve."""


#: Errors before any connection is attempted.
CANNOT_CONNECT = (AddressRefused, UnknownHost)


def is_public(address: str) -> bool:
    """Whether this is an address on the public internet.

    Loopback, private, link-local, shared (CGNAT), multicast and reserved addresses are not. For an IPv6 address that
    represents an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo), the IPv4 address decides.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _carried(ip)
        if inner is not None:
            return is_public(str(inner))
        if ip in _LOCAL_NAT64 or ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _carried(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(ip in network for network in _CARRIERS) and int(ip) > 1:  # :: and ::1 do not represent an IPv4 address
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host in the system's order, without repetitions."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[0]) for *_, where in found))


class CheckedTransport(httpx.AsyncBaseTransport):
    """Sends each request to a checked address of its host. The certificate is still checked against the host's name.

    Raises AddressRefused, or UnknownHost if the name does not resolve. Proxies are not used, because they would resolve
    names themselves.
    """

    def __init__(self, *, allow_private: bool, resolve: Resolve = resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._context: ssl.SSLContext | None = None
        # One pool per host, because two names with the same address must not share a connection.
        self._pools: dict[tuple[str, str, int], httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or DEFAULT_PORTS[request.url.scheme]
        pool = self._pool(request.url.scheme, host, port)
        *others, last = (await self._checked(host, port))[:MAX_ADDRESSES]
        for address in others:
            try:
                return await pool.handle_async_request(_at(request, address, host))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent without a connection, so the next address can be tried
        return await pool.handle_async_request(_at(request, last, host))

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    def _pool(self, scheme: str, host: str, port: int) -> httpx.AsyncHTTPTransport:
        key = (scheme, host, port)
        if key not in self._pools:
            if scheme == "https" and self._context is None:
                self._context = httpx.create_ssl_context(trust_env=False)
            self._pools[key] = httpx.AsyncHTTPTransport(verify=self._context or False, trust_env=False)
        return self._pools[key]

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise UnknownHost(f"The name {host} does not resolve ({error}).", "Check the URL.") from error
        if not addresses:
            raise UnknownHost(f"The name {host} has no address.", "Check the URL.")
        for address in addresses:
            if not self._allow_private and not is_public(address):
                named = host if host == address else f"{host} has the address {address}, which"
                raise AddressRefused(
                    f"{named} is not on the public internet.",
                    "Set allow_private: true if this source may read from private addresses.",
                )
        return addresses


def _at(request: httpx.Request, address: str, host: str) -> httpx.Request:
    """The same request to this address, with unchanged Host header and name for TLS."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address.partition("%")[0]),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
