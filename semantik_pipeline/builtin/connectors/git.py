"""The connector ``git``: every file of a branch is a document. Commits show what has changed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.connectors import git_sizes, git_tree
from semantik_pipeline.builtin.connectors.file_uri import quoted, readable, unquoted
from semantik_pipeline.builtin.connectors.git_fetching import Fetching
from semantik_pipeline.builtin.connectors.git_remote import Remote, Tip
from semantik_pipeline.builtin.connectors.git_tree import Entry
from semantik_pipeline.builtin.connectors.globs import GLOB_OPTIONS, PathRules, rules_given
from semantik_pipeline.builtin.connectors.size_limit import refuse_large
from semantik_pipeline.builtin.media_types import media_type
from semantik_pipeline.contracts import ConnectorPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import (
    Checkpoint,
    Complete,
    DocumentReference,
    IngestedDocument,
    Removal,
    content_hash,
)
from semantik_pipeline.errors import (
    DocumentGone,
    PipelineError,
    PluginConfigError,
    ServiceUnavailable,
    SkipDocument,
)

if TYPE_CHECKING:
    from dulwich.repo import Repo

#: Entries between two checkpoints.
BATCH = 500

#: Seconds between two checks whether a long fetch makes progress.
PULSE = 5.0

#: Seconds that a document waits for a fetch.
PATIENCE = 60.0

#: Seconds for which the newest commit of a branch is remembered, for documents that are requested only by their id.
NEWS = 5.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run names: the whole tree of a commit, or, with ``since``, what has changed since that commit. The first
    ``done`` entries have already been named. ``anew`` means that the commit with which the run started was lost
    meanwhile, so that the next run has to name everything."""

    tip: Tip
    since: bytes | None = None
    done: int = 0
    anew: bool = False

    @property
    def place(self) -> dict[str, str]:
        return {"commit": self.tip.commit.decode(), "branch": self.tip.branch}

    def checkpoint(self, done: int) -> dict[str, Any]:
        since = self.since.decode() if self.since else None
        return {**self.place, "since": since, "done": done, "anew": self.anew}


class GitConnector(ConnectorPlugin):
    """Names files ``URL#PATH``. The change hint is the id of the blob.

    The first run names the whole tree. Later runs name what differs from the commit of the previous run, or the whole
    tree again if that commit is no longer available.

    A remote repository is kept as a bare mirror, one commit deep, in a cache folder that the workers of a host share. A
    local repository is read in place. Links, submodules and Git LFS pointers are listed as skipped, with the reason.
    """

    PLUGIN_ID = "git"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {"name": "Git", "description": "The files of a branch of a Git repository, local or by any URL."}

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._lock = threading.Lock()  # guards the repository, whose open files have positions
        self._repo: Repo | None = None
        self._readers = 0
        self._fetching = Fetching()
        self._asked: tuple[float, Tip | None] = 0.0, None

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        text = {"type": "string", "minLength": 1}
        operational = {"x-operational": True}
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["url"],
            "properties": {
                "url": {**text, "description": "URL of a repository (https, ssh, git), or a local path."},
                "branch": {**text, "description": "Branch or tag (default: the remote's default branch)."},
                **GLOB_OPTIONS,
                "username": {**text, **operational, "description": "For https; with a token, many hosts accept any."},
                "password": {**text, "secret": True, "description": "Password or token, given as password_env."},
                "cache_dir": {**text, **operational, "description": "Folder of mirrors (default: the user's cache)."},
                "timeout": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 60,
                    **operational,
                    "description": "Seconds to wait for an HTTP response.",
                },
                "max_bytes": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256 * 2**20,
                    **operational,
                    "description": "Maximum size of a file, in bytes.",
                },
            },
        }

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        try:
            cls(config).validate_config()
        except PipelineError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY)

    def validate_config(self) -> None:
        try:
            import dulwich  # noqa: F401 -- a cheap check that it is installed
        except ImportError as error:
            raise PluginConfigError(
                "The connector git needs the package dulwich.", "Install semantik-pipeline[git]."
            ) from error
        if not self.config.get("url"):
            raise PluginConfigError("The connector git needs a url.", "Set url to a repository's URL or path.")
        self._remote.check()

    async def cleanup(self) -> None:
        self._fetching.cancel()
        with self._lock:
            if self._repo is not None:  # an enumeration was not finished
                self._repo.close()

    @cached_property
    def _name(self) -> str:
        return self._remote.name

    @cached_property
    def _remote(self) -> Remote:
        import platformdirs

        own = self.config.get("cache_dir")
        cache = (
            Path(own).expanduser() if own else Path(platformdirs.user_cache_dir("semantik", appauthor=False)) / "git"
        )
        return Remote(
            url=self.config["url"],
            cache=cache,
            username=self.config.get("username") or ("git" if self.config.get("password") else None),
            password=self.config.get("password"),
            timeout=self.config.get("timeout", 60),
        )

    # -- naming -------------------------------------------------------------------------------------------------------

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Removal | Checkpoint | Complete]:
        plan = await asyncio.to_thread(self._resumed, cursor)
        if plan is None:
            fetch = self._fetching.join(self._remote, self.config.get("branch"))
            heard = fetch.moved
            while not await asyncio.to_thread(fetch.wait, PULSE):
                if fetch.moved > heard:  # the fetch makes progress: the slice may end here, and the next one joins it
                    heard = fetch.moved
                    yield Checkpoint(cursor)
            self._fetching.leave(fetch)
            newest = fetch.result()
            if newest is None:  # nothing was ever committed
                yield Complete(full=True)
                return
            plan = await asyncio.to_thread(self._begun, cursor, newest)
        with self._reading() as repo:
            async for event in self._named(repo, plan):
                yield event

    async def _named(
        self, repo: Repo, plan: Plan
    ) -> AsyncIterator[DocumentReference | Removal | Checkpoint | Complete]:
        rules = PathRules(**rules_given(self.config))
        entries, done = self._entries(repo, plan), plan.done
        while batch := await asyncio.to_thread(self._next, repo, entries):
            for entry in batch:
                path = readable(_text(entry.path))
                if not rules.names(path):
                    continue
                if entry.sha is None:
                    yield Removal(self._id_of(entry.path))
                else:
                    yield self._reference(entry, plan)
            done += len(batch)
            yield Checkpoint(plan.checkpoint(done))
        yield Complete(full=plan.since is None, cursor=None if plan.anew else plan.place)

    def _resumed(self, cursor: Any) -> Plan | None:
        """The rest of an interrupted run, if its commits are still available. Otherwise None."""
        if not _is_checkpoint(cursor):
            return None
        since = cursor["since"].encode() if cursor["since"] else None
        tip = Tip(branch=cursor["branch"], commit=cursor["commit"].encode())
        with self._reading() as repo, self._lock:
            if not git_tree.has_commit(repo, tip.commit) or (since and not git_tree.has_commit(repo, since)):
                return None
        return Plan(tip=tip, since=since, done=cursor["done"], anew=cursor["anew"])

    def _begun(self, cursor: Any, newest: Tip) -> Plan:
        """The plan of a new run: what differs from the commit of the previous run, if that is available. Otherwise, and
        if an interrupted run has lost its commits, everything."""
        if _is_checkpoint(cursor):
            return Plan(tip=newest, anew=True)
        since = cursor["commit"].encode() if isinstance(cursor, dict) and "commit" in cursor else None
        with self._reading() as repo, self._lock:
            here = since is not None and git_tree.has_commit(repo, since)
        return Plan(tip=newest, since=since if here else None)

    def _entries(self, repo: Repo, plan: Plan) -> Iterator[Entry]:
        found = (
            git_tree.listing(repo, plan.tip.commit)
            if plan.since is None
            else git_tree.changes(repo, plan.since, plan.tip.commit)
        )
        return islice(found, plan.done, None)

    def _next(self, repo: Repo, entries: Iterator[Entry]) -> list[Entry]:
        with self._lock, git_tree.at_hand(repo):
            return list(islice(entries, BATCH))

    @contextmanager
    def _reading(self) -> Iterator[Repo]:
        """The repository, shared by all current readers. It is closed after the last of them, because each of its packs
        uses file descriptors."""
        with self._lock:
            repo = self._repo = self._repo or self._remote.open()
            self._readers += 1
        try:
            yield repo
        finally:
            with self._lock:
                self._readers -= 1
                if not self._readers:
                    repo.close()
                    self._repo = None

    def _id_of(self, path: bytes) -> str:
        return f"{self._name}#{quoted(_text(path))}"

    def _reference(self, entry: Entry, plan: Plan) -> DocumentReference:
        return DocumentReference(unique_id=self._id_of(entry.path), change_hint=entry.hint, metadata=plan.place)

    # -- fetching -----------------------------------------------------------------------------------------------------

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        return await asyncio.to_thread(self._fetch, reference)

    def _fetch(self, reference: DocumentReference) -> IngestedDocument:
        name, _, path = reference.unique_id.rpartition("#")
        newest = None if self._known(reference) else self._newest()
        with self._reading() as repo, self._lock:
            tip = newest or self._tip_of(reference)
            entry = git_tree.entry_at(repo, tip.commit, unquoted(path).encode("utf-8", "surrogateescape"))
            if name != self._name or entry is None:
                raise DocumentGone(f"{reference.unique_id} is gone.")
            with git_tree.at_hand(repo):
                content = self._content(repo, entry)
                facts = git_tree.about(git_tree.commit_of(repo, tip.commit))
        shown = readable(_text(entry.path))
        file_name = shown.rpartition("/")[2]
        place = {"file_name": file_name, "path": shown, "extension": Path(file_name).suffix.lower()}
        return IngestedDocument(
            content=content,
            unique_id=reference.unique_id,
            source_type=self.PLUGIN_ID,
            metadata={**place, "url": self._name, "branch": tip.branch, **facts, "size": len(content)},
            content_hash=content_hash(content),
            file_path=shown,
            media_type=media_type(content, file_name),
        )

    def _known(self, reference: DocumentReference) -> bool:
        """Whether the commit from which the reference was named is available. A reference without a commit is looked up
        in the newest one."""
        commit = reference.metadata.get("commit", "").encode()
        if not commit:
            return False
        with self._reading() as repo, self._lock:
            return git_tree.has_commit(repo, commit)

    def _tip_of(self, reference: DocumentReference) -> Tip:
        return Tip(branch=reference.metadata["branch"], commit=reference.metadata["commit"].encode())

    def _newest(self) -> Tip:
        """The newest commit of the branch. It is remembered for a moment, so that many documents in a row cause only
        one request to the remote."""
        asked, tip = self._asked
        if tip is not None and time.monotonic() - asked < NEWS:
            return tip
        fetch = self._fetching.join(self._remote, self.config.get("branch"))
        if not fetch.wait(PATIENCE):  # it continues, and the next caller joins it
            raise ServiceUnavailable(f"{self._name} is still being fetched.", retry_after=PATIENCE)
        self._fetching.leave(fetch)
        if (newest := fetch.result()) is None:
            raise DocumentGone(f"{self._name} is empty.")
        self._asked = time.monotonic(), newest
        return newest

    def _content(self, repo: Repo, entry: Entry) -> bytes:
        shown = readable(_text(entry.path))
        if why := git_tree.why_no_file(entry):
            raise SkipDocument(f"{shown} {why}.")
        assert entry.sha is not None  # entries from a tree have one
        limit = self.config.get("max_bytes") or self.get_config_schema()["properties"]["max_bytes"]["default"]
        refuse_large(shown, git_sizes.size_of(repo, entry.sha), limit)
        content = repo[entry.sha].as_raw_string()
        if why := git_tree.why_no_content(content):
            raise SkipDocument(f"{shown} {why}.")
        return content


def _is_checkpoint(cursor: Any) -> bool:
    return isinstance(cursor, dict) and "done" in cursor


def _text(path: bytes) -> str:
    """A path in a tree as the system would give it: exact to the byte."""
    return path.decode("utf-8", "surrogateescape")
