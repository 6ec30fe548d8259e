"""Connectors read documents from a source."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

from semantik_pipeline.contracts.config_schema import normalise_schema
from semantik_pipeline.contracts.plugin import HealthState, HealthStatus, SemanticPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, Removal
from semantik_pipeline.errors import PluginConfigError


class ConnectorPlugin(SemanticPlugin):
    """Reads documents from a source.

    Required: :meth:`load_documents`, or the incremental pair :meth:`enumerate` and :meth:`fetch`. With
    ``load_documents`` alone, a sync is one long unit that starts over after a crash. Content that is already known by
    its hash is not processed again.
    """

    PLUGIN_TYPE: ClassVar[str] = "connector"

    #: Number of :meth:`fetch` calls, 1 to 32, that may run concurrently on one instance. Raise it if a source answers
    #: slowly and allows it: a sync that fetches one document at a time, at 50 ms each, gets 20 documents/s.
    FETCH_CONCURRENCY: ClassVar[int] = 1

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> bool | HealthStatus:
        """Check the configuration with the class's own :meth:`validate_config`; unknown if the class has none."""
        if cls.validate_config is ConnectorPlugin.validate_config:
            return await super().health_check(config)
        try:
            validate: Callable[[], Any] = cls(config).validate_config
            if inspect.isawaitable(answer := validate()):  # a plugin's own may be async
                await answer
        except PluginConfigError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY)

    async def authenticate(self) -> bool:
        """Return whether the source accepts the credentials."""
        return True

    def validate_config(self) -> None:
        """Raise PluginConfigError if the configuration cannot work, for example if a folder is missing."""

    def load_documents(self, source_id: int | None = None) -> AsyncIterator[IngestedDocument]:
        """Yield every document. A normal end means that every document was named; raise otherwise."""
        raise NotImplementedError(f"{type(self).__name__} has neither load_documents nor enumerate and fetch.")

    def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Removal | Checkpoint | Complete]:
        """Name the documents from ``cursor`` on, in an order that a cursor can resume, and end with ``Complete``.

        A run is one enumeration from its start to its Complete. It may take several calls: a time slice can end, or a
        worker can die. ``cursor`` is one of three values:

        - None: the run starts, and you name everything. The first run starts like this. So does a run after the
          source's connector or options changed, or when somebody asks for a full sync.
        - ``Complete.cursor`` of the last run that finished: the run starts, and you name only what changed since then,
          by a commit, a UID or a change token. If you can't use that cursor any more, name everything.
        - ``Checkpoint.cursor`` of this same run: the run continues there. Put into it what the rest of the run needs to
          know, such as where the run started. A checkpoint is never given to another run.

        A connector that walks its whole source each time ends with ``Complete(full)``, whatever its checkpoints are. A
        connector that can find out what changed ends with ``Complete(full, cursor=...)``. After a run that fails, the
        next run starts where the failed one started.

        ``full=True`` means that this run named everything in the source; what it did not name is removed. Never use it
        after a run that named only changes (yield Removal there), or if any slice of the run could not read a part of
        the source.
        """
        raise NotImplementedError

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        """Return the document.

        Raise SkipDocument if there is nothing to index (what was indexed of it is removed), DocumentGone,
        DocumentUnreadable if it can't be read now (what is indexed of it stays), or a Transient/PermanentError.

        A reference may have only its ``unique_id``. After a run that named only changes, the host asks in this way for
        documents that it could not get, or has lost. DocumentGone then removes the document.
        """
        raise NotImplementedError

    @classmethod
    def get_config_fields(cls) -> list[dict[str, Any]]:
        """Return ``[{"name", "type", "label", "required", "default"}]`` for forms, made from the schema."""
        schema = normalise_schema(cls.get_config_schema()) or {}
        required = set(schema.get("required", []))
        return [
            {
                "name": name,
                "type": spec.get("type", "string"),
                "label": spec.get("title") or name.replace("_", " "),
                "required": name in required,
                "default": spec.get("default"),
            }
            for name, spec in schema.get("properties", {}).items()
        ]

    @classmethod
    def get_secret_fields(cls) -> list[str]:
        """Return the names of the fields that hold secrets. They are given as ``NAME_env``."""
        properties = (normalise_schema(cls.get_config_schema()) or {}).get("properties", {})
        return [name for name, spec in properties.items() if spec.get("secret") or spec.get("format") == "password"]
