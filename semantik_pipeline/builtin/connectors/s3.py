"""The connector ``s3``: every object of a bucket (or under a prefix) is a document."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from semantik_pipeline.builtin.connectors.globs import GLOB_OPTIONS, PathRules, rules_given
from semantik_pipeline.builtin.connectors.s3_faults import code_of, meaning
from semantik_pipeline.builtin.connectors.size_limit import refuse_large
from semantik_pipeline.builtin.media_types import media_type
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, content_hash
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    DocumentUnreadable,
    PermanentError,
    PluginConfigError,
    ServiceUnavailable,
    SkipDocument,
)

#: Objects per page, and therefore between two checkpoints.
PAGE = 1000

#: Bytes that are read at a time.
PIECE = 2**20


class S3Connector(ConnectorPlugin):
    """Names objects ``s3://BUCKET/KEY``, percent-encoded, in the order of their keys, with one page in memory at a
    time.

    The change hint consists of ETag and size. Folder markers are left out. Patterns match the part of the key after the
    prefix's last slash.
    """

    PLUGIN_ID = "s3"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {"name": "S3", "description": "The objects of a bucket, on AWS or on any server that speaks S3."}
    FETCH_CONCURRENCY = 8  # the client keeps at most ten connections

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._client: Any = None
        self._lock = threading.Lock()  # creating a client takes half a second, so only one is created

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        text = {"type": "string", "minLength": 1}
        operational = {"x-operational": True}
        secret = {"type": "string", "secret": True}
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["bucket"],
            "properties": {
                "bucket": {**text, "pattern": "^([^/:]+|arn:.+)$", "description": "The bucket's name, or an ARN."},
                "prefix": {
                    "type": "string",
                    "default": "",
                    "description": "Only keys with this prefix, such as notes/.",
                },
                **GLOB_OPTIONS,
                "endpoint_url": {**text, "pattern": "^https?://.", "description": "URL of a server other than AWS."},
                "region": {
                    **text,
                    **operational,
                    "description": "The bucket's region (default: the standard AWS configuration).",
                },
                "access_key": {
                    **secret,
                    "description": "Given as access_key_env (default: the standard AWS configuration).",
                },
                "secret_key": {**secret, "description": "Given as secret_key_env."},
                "session_token": {**secret, "description": "For temporary credentials, given as session_token_env."},
                "anonymous": {
                    "type": "boolean",
                    "default": False,
                    **operational,
                    "description": "Send requests without credentials, for public buckets.",
                },
                "timeout": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 60,
                    **operational,
                    "description": "Seconds to wait for a response.",
                },
                "max_bytes": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256 * 2**20,
                    **operational,
                    "description": "Maximum size of an object, in bytes.",
                },
            },
        }

    def validate_config(self) -> None:
        try:
            import botocore  # noqa: F401 -- a cheap check that it is installed
        except ImportError as error:
            raise PluginConfigError(
                "The connector s3 needs the package botocore.", "Install semantik-pipeline[s3]."
            ) from error
        if not self.config.get("bucket"):
            raise PluginConfigError("The connector s3 needs a bucket.", "Set bucket to its name.")
        if bool(self.config.get("access_key")) != bool(self.config.get("secret_key")):
            raise PluginConfigError(
                "An access key needs its secret, and the other way round.", "Set access_key_env and secret_key_env."
            )

    async def cleanup(self) -> None:
        if self._client is not None:
            self._client.close()

    # -- naming -------------------------------------------------------------------------------------------------------

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Checkpoint | Complete]:
        after = cursor.get("after", "") if isinstance(cursor, dict) else ""
        rules = PathRules(**rules_given(self.config))
        base = self._prefix.rpartition("/")[0]
        start = len(base) + 1 if base else 0
        then: dict[str, str] | None = {"StartAfter": after} if after else {}
        while then is not None:
            objects, then = await asyncio.to_thread(self._page, after, then)
            for found in objects:
                key = found["Key"]
                if not _is_marker(found) and rules.names(key[start:]):
                    yield self._reference(found)
            if objects:
                after = objects[-1]["Key"]
                yield Checkpoint({"after": after})
        yield Complete(full=True)

    def _page(self, after: str, start: dict[str, str]) -> tuple[list[dict[str, Any]], dict[str, str] | None]:
        """The objects after this key, and the parameters of the next page; None if this is the last one.

        An empty page is not necessarily the last one, because a server that skips many deleted keys may send empty
        pages.
        """
        try:
            page = self._opened().list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=PAGE, **start)
        except Exception as error:
            raise meaning(error, self._bucket) from error
        objects, token = page.get("Contents", []), page.get("NextContinuationToken")
        if objects and objects[0]["Key"].encode() <= after.encode():
            raise PermanentError(f"The server of the bucket {self._bucket} does not list keys in order.")
        if not page.get("IsTruncated"):
            return objects, None
        if token and token != start.get("ContinuationToken"):
            return objects, {"ContinuationToken": token}
        if objects:
            return objects, {"StartAfter": objects[-1]["Key"]}
        raise ServiceUnavailable(f"The bucket {self._bucket} does not list all of its objects.")

    def _reference(self, found: dict[str, Any]) -> DocumentReference:
        etag = found["ETag"].strip('"')
        return DocumentReference(self._id_of(found["Key"]), f"{etag}-{found['Size']}", size=found["Size"])

    def _id_of(self, key: str) -> str:
        return f"s3://{self._bucket}/{quote(key)}"

    # -- fetching -----------------------------------------------------------------------------------------------------

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        return await asyncio.to_thread(self._fetch, reference)

    def _fetch(self, reference: DocumentReference) -> IngestedDocument:
        home = f"s3://{self._bucket}/"
        key = unquote(reference.unique_id.removeprefix(home))
        if not reference.unique_id.startswith(home) or not key.startswith(self._prefix):
            raise DocumentGone(f"{reference.unique_id} is not in {home}{self._prefix}.")
        limit = self.config.get("max_bytes") or self.get_config_schema()["properties"]["max_bytes"]["default"]
        refuse_large(reference.unique_id, reference.size or 0, limit)
        try:
            found = self._opened().get_object(Bucket=self._bucket, Key=key)
            with found["Body"] as body:
                refuse_large(reference.unique_id, found["ContentLength"], limit)
                content = b"".join(iter(lambda: body.read(PIECE), b""))
        except Exception as error:
            raise self._meaning_for(error, reference.unique_id) from error
        if not content:
            raise SkipDocument(f"{reference.unique_id} is empty.")
        name = PurePosixPath(key).name
        return IngestedDocument(
            content=content,
            unique_id=reference.unique_id,
            source_type=self.PLUGIN_ID,
            metadata={
                "file_name": name,
                "extension": PurePosixPath(name).suffix.lower(),
                "bucket": self._bucket,
                "key": key,
                "etag": found["ETag"].strip('"'),
                "modified": found["LastModified"].astimezone(UTC).isoformat(timespec="seconds"),
                "size": len(content),
                "url": f"{self._opened().meta.endpoint_url}/{self._bucket}/{quote(key)}",
            },
            content_hash=content_hash(content),
            file_path=key,
            media_type=media_type(content, name),
        )

    def _meaning_for(self, error: Exception, name: str) -> Exception:
        """The error of this project for one object, if the error is about the object, otherwise for the bucket."""
        code = code_of(error)
        if code in ("NoSuchKey", "404"):
            return DocumentGone(f"{name} is gone.")
        if code == "InvalidObjectState":
            return DocumentUnreadable(
                f"{name} is in archive storage.", "Restore it, or exclude it. Each sync tries it again."
            )
        fault = meaning(error, self._bucket)
        if isinstance(fault, CredentialsRejected) and code in ("AccessDenied", "403"):  # listing the bucket was allowed
            way_out = "Allow s3:GetObject on it, or exclude it. Each sync tries it again."
            return DocumentUnreadable(f"{name} may not be read ({code}).", way_out)
        return fault

    # -- the client ---------------------------------------------------------------------------------------------------

    @property
    def _bucket(self) -> str:
        return self.config["bucket"]

    @property
    def _prefix(self) -> str:
        return self.config.get("prefix") or ""

    def _opened(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> Any:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config

        timeout = self.config.get("timeout", 60)
        options = Config(
            signature_version=UNSIGNED if self.config.get("anonymous") else None,
            connect_timeout=min(timeout, 10),
            read_timeout=timeout,
            retries={"mode": "standard", "total_max_attempts": 2},
            user_agent_extra="semantik-pipeline",
        )
        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.config.get("endpoint_url"),
            region_name=self.config.get("region"),
            aws_access_key_id=self.config.get("access_key"),
            aws_secret_access_key=self.config.get("secret_key"),
            aws_session_token=self.config.get("session_token"),
            config=options,
        )


def _is_marker(found: dict[str, Any]) -> bool:
    """Whether this is a marker that consoles create for an empty folder."""
    return found["Key"].endswith("/") and not found["Size"]
