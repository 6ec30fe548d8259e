"""Who calls, and what they may. A *principal* is a caller with a role; its ``principals`` are the names under which
documents are open to it (a user, groups), as sources and documents list them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from semantik_pipeline.contracts.plugin import SemanticPlugin
from semantik_pipeline.errors import Forbidden, UsageError

#: Each may what the ones before it may. reader: search and look; writer: documents, sources, syncs, reindexing; admin:
#: plugins, keys, workers, deleting collections.
ROLES = ("reader", "writer", "admin")


@dataclass(frozen=True)
class AuthRequest:
    """What an auth plugin is told of a request. ``headers`` by lowercase name; ``client`` is the address that called."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # they hold credentials
    client: str | None = None

    def __post_init__(self) -> None:
        lowercase = {name.lower(): value for name, value in self.headers.items()}
        object.__setattr__(self, "headers", MappingProxyType(lowercase))

    def header(self, name: str) -> str | None:
        """The header's value, whatever the case of its name."""
        return self.headers.get(name.lower())


@dataclass(frozen=True)
class Principal:
    """A caller. ``collections`` are those that it may use (None: all); ``principals`` are the names whose documents it
    finds beside those that are open to everybody (None: all documents, so give an empty set for none)."""

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
                raise UsageError(f"{name} of {self.name!r} is one text.", "Give a list of names, or None for all.")
            if given is not None and not all(isinstance(one, str) and one for one in given):
                raise UsageError(f"{name} of {self.name!r} holds what is no name.", "Names are texts, not empty ones.")
            object.__setattr__(self, name, None if given is None else frozenset(given))

    def may(self, role: str, collection: str | None = None) -> bool:
        """Whether the caller has this role, or a higher one, in the collection.

        Without a collection: in the whole installation, which is more than a caller of some collections may, unless
        it only reads. What such a caller then sees must be of its collections.
        """
        if ROLES.index(self.role) < ROLES.index(role):
            return False
        if self.collections is None:
            return True
        return role == "reader" if collection is None else collection in self.collections

    def require(self, role: str, collection: str | None = None) -> None:
        """Raise Forbidden, saying what is needed, unless the caller :meth:`may`."""
        if self.may(role, collection):
            return
        if ROLES.index(self.role) < ROLES.index(role):
            needed = f"the role {role}, and {self.name} is a {self.role}"
        elif collection is None:
            needed = f"the role {role} in all collections, and {self.name} is limited to some"
        else:
            needed = f"access to the collection {collection!r}, which {self.name} has not"
        raise Forbidden(f"This needs {needed}.", "Ask an administrator for a key: `semantik keys create`.")

    def sees(self, principals: Collection[str] | None) -> bool:
        """Whether a document that is open to these principals (None: to everybody) is open to the caller."""
        return principals is None or self.principals is None or bool({*self.principals} & {*principals})


class AuthPlugin(SemanticPlugin):
    """Tells who calls, from a request that holds no API key of ours."""

    PLUGIN_TYPE: ClassVar[str] = "auth"

    async def authenticate(self, request: AuthRequest) -> Principal | None:
        """Who the caller is; None if this plugin does not know, and the next one is asked.

        Whatever it raises denies the request, and so does taking longer than ``api.auth_deadline``. Must not log or
        raise with a credential in the text.
        """
        raise NotImplementedError
