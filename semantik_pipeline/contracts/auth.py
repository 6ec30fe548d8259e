"""Auth plugins identify callers. A *principal* is a caller with a role.

Its ``principals`` are the names, of a user or of groups, under which documents are open to it. Sources and documents
list the same names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.errors import Forbidden, UsageError

#: Each role includes the ones before it. reader: search and look; writer: documents, sources, syncs, reindexing; admin:
#: plugins, keys, workers, deleting collections.
ROLES = ("reader", "writer", "admin")


@dataclass(frozen=True)
class AuthRequest:
    """A request as an auth plugin sees it: ``headers`` by lowercase name, ``client`` the address of the caller."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # they hold credentials
    client: str | None = None

    def __post_init__(self) -> None:
        lowercase = {name.lower(): value for name, value in self.headers.items()}
        object.__setattr__(self, "headers", MappingProxyType(lowercase))

    def header(self, name: str) -> str | None:
        """Return the header's value, whatever the case of its name."""
        return self.headers.get(name.lower())


@dataclass(frozen=True)
class Principal:
    """A caller.

    ``collections`` are those that it may use (None: all). ``principals`` are the names whose documents it finds, in
    addition to those open to everybody. None means all documents, so give an empty set for no names.
    """

    name: str
    role: str = "reader"
    collections: Collection[str] | None = None
    principals: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise UsageError(f"There is no role {self.role!r}.", f"Roles are {', '.join(ROLES)}.")
        for name in ("collections", "principals"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise UsageError(f"{name} of {self.name!r} is a string.", "Give a list of names, or None for all.")
            if given is not None and not all(isinstance(one, str) and one for one in given):
                raise UsageError(
                    f"{name} of {self.name!r} contains an invalid name.", "Names are strings that are not empty."
                )
            object.__setattr__(self, name, None if given is None else frozenset(given))

    def may(self, role: str, collection: str | None = None) -> bool:
        """Return whether the caller has this role, or a higher one, in the collection.

        Without a collection, the question is about the whole installation. A caller limited to some collections may
        then only read, and whatever it is shown must belong to its collections.
        """
        if ROLES.index(self.role) < ROLES.index(role):
            return False
        if self.collections is None:
            return True
        return role == "reader" if collection is None else collection in self.collections

    def require(self, role: str, collection: str | None = None) -> None:
        """Raise Forbidden, which names what is needed, unless the caller :meth:`may`."""
        if self.may(role, collection):
            return
        if ROLES.index(self.role) < ROLES.index(role):
            needed = f"the role {role}, and {self.name} is a {self.role}"
        elif collection is None:
            needed = f"the role {role} in all collections, and {self.name} is limited to some"
        else:
            needed = f"access to the collection {collection!r}, which {self.name} does not have"
        raise Forbidden(f"This needs {needed}.", "Ask an administrator for a key: `semantik keys create`.")

    def sees(self, principals: Collection[str] | None) -> bool:
        """Return whether a document that is open to these principals (None: to everybody) is open to the caller."""
        return principals is None or self.principals is None or bool({*self.principals} & {*principals})


class AuthPlugin(SemanticPlugin):
    """Identifies the caller of a request that has no API key of this installation."""

    PLUGIN_TYPE: ClassVar[str] = "auth"

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        """Return the caller, or None if this plugin does not know it; the next plugin is then asked.

        Raising anything, or taking longer than ``api.auth_deadline``, denies the request. Never put a credential into a
        log line or an error.
        """
        raise NotImplementedError
