"""Connectors: where documents come from."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

from semantik_pipeline.contracts.plugin import HealthState, HealthStatus, SemanticPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, Removal
from semantik_pipeline.errors import PluginConfigError


class ConnectorPlugin(SemanticPlugin):
    """A source of documents.

    Write :meth:`load_documents`, or the incremental pair :meth:`enumerate` and :meth:`fetch`. With the first alone a
    sync is one long unit that starts over after a crash (what is known by hash costs nothing).
    """

    PLUGIN_TYPE: ClassVar[str] = "connector"

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> bool | HealthStatus:
        """Whether the configuration could work, as far as the class's own :meth:`validate_config` tells."""
        if cls.validate_config is ConnectorPlugin.validate_config:
            return await super().health_check(config)
        try:
            validate: Callable[[], Any] = cls(config).validate_config
            if inspect.isawaitable(answer := validate()):  # an author's may be
                await answer
        except PluginConfigError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY)

    async def authenticate(self) -> bool:
        """Whether the source lets us in."""
        return True

    def validate_config(self) -> None:
        """Raise PluginConfigError if the configuration cannot work (a folder that is missing, say)."""

    def load_documents(self, source_id: int | None = None) -> AsyncIterator[IngestedDocument]:
        """Yield every document. A normal end is a full enumeration; raise to say that it is not."""
        raise NotImplementedError(f"{type(self).__name__} has neither load_documents nor enumerate and fetch.")

    def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Removal | Checkpoint | Complete]:
        """Name the documents from ``cursor`` on, in an order that a cursor can resume; last, ``Complete``.

        A run is one enumeration from its beginning to its Complete, in one call or, where slices end and workers die,
        in several. ``cursor`` is one of three:

        - None: the run begins, and everything is to be named. So it is at first, when the source's connector or
          options changed, and when somebody asks for it.
        - ``Complete.cursor`` of the last run that ended: the run begins, and only what changed since then is to be
          named (a commit, a UID, a change token). Name everything instead if that cursor is of no use any more.
        - ``Checkpoint.cursor`` of this very run: it goes on there. Put into it what the rest of the run needs to know,
          such as where the run began; a checkpoint is never given to another run.

        So a connector that walks its whole source each time ends with ``Complete(full)``, whatever its checkpoints
        are, and one that can tell what changed ends with ``Complete(full, cursor=...)``. A run that fails leaves the
        next one to begin where it began.

        ``full``: this run named all that the source has; what it did not name is removed. Never after a run that named
        only changes (say Removal there), and never if a part could not be read in any of the run's slices.
        """
        raise NotImplementedError

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        """The document itself. Raise SkipDocument (nothing to index: what was indexed of it goes), DocumentGone,
        DocumentUnreadable (it can't be had now, which says nothing of its content), or a Transient/PermanentError.

        A reference may have nothing but its ``unique_id``: after a run that named only changes the host asks so for
        documents that it could not have, or has lost. DocumentGone then removes the document.
        """
        raise NotImplementedError

    @classmethod
    def get_config_fields(cls) -> list[dict[str, Any]]:
        """For forms: ``[{"name", "type", "label", "required", "default"}]`` (default: from the schema)."""
        schema = cls.get_config_schema() or {}
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
        """Names of the fields that hold secrets, and are therefore given as ``NAME_env``."""
        properties = (cls.get_config_schema() or {}).get("properties", {})
        return [name for name, spec in properties.items() if spec.get("secret") or spec.get("format") == "password"]
