"""Downloads a model from a hub into the models folder, pinned to a commit, with every file checked against its hash.

A pull works in a hidden folder next to the model's place; when it is complete, it gets its final name in one step. An
interrupted pull therefore leaves nothing that a plugin would mistake for a model, and the next pull continues with the
files that were complete.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from semantik_pipeline.contracts.models import Manifest, ModelFiles, find_model, place_of
from semantik_pipeline.errors import PermanentError, PipelineError, ServiceUnavailable, StorageFull, UsageError
from semantik_pipeline.models.checking import check, git_blob_of, sha256_of
from semantik_pipeline.models.selection import needed

#: Seconds to wait for the hub's description of a repository.
PATIENCE = 30.0

#: What to do after an interruption, and if the hub can't be reached.
RESUME = "Run the command again to resume."
ELSEWHERE = "Or download it on another host, copy that host's models folder here, and run `semantik models verify`."


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file as the hub lists it, with its SHA-256, or for a small file its git hash."""

    name: str
    size: int
    sha256: str | None
    git_blob: str | None


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """``fetched`` is False if the model was already here and complete."""

    files: ModelFiles
    fetched: bool
    bytes: int


def pull(name: str, folder: Path, *, revision: str | None = None, pickles: bool = False) -> Pulled:
    """Fetch a model from the hub. ``revision`` is a commit, branch or tag (None: the main branch).

    Raises UsageError (no such model or revision, or pickles), PermanentError (a file does not match the hub's hash),
    ServiceUnavailable (no hub can be reached) and StorageFull.
    """
    from filelock import FileLock

    name = name if "/" in name else f"sentence-transformers/{name}"
    place = place_of(folder, name)
    if place is None:
        raise UsageError(f"{name!r} is not the name of a model on a hub.", "Write OWNER/NAME.")
    try:
        commit, listed = _ask(name, revision)
        files = [listed[file] for file in needed(list(listed), name=name, pickles=pickles)]
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / f".{commit}.lock"):
            here = _whole(folder, name, commit)
            if here is None:
                _fetch(name, commit, revision, files, place)
    except OSError as error:
        raise _storage_error(folder, error) from None
    found = here or find_model(folder, name, commit)
    assert found is not None  # it has just been stored
    return Pulled(files=found, fetched=here is None, bytes=sum(file.size for file in files))


def _ask(name: str, revision: str | None) -> tuple[str, dict[str, HubFile]]:
    """The commit that a revision currently points to, and its files by name."""
    from huggingface_hub import HfApi

    try:
        about = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=PATIENCE)
    except Exception as error:  # the hub's client raises a dozen unrelated types
        raise _hub_error(name, revision, error) from error
    files = {
        one.rfilename: HubFile(
            name=one.rfilename,
            size=one.size or 0,
            sha256=one.lfs.sha256 if one.lfs else None,
            git_blob=None if one.lfs else one.blob_id,
        )
        for one in about.siblings or []
    }
    return str(about.sha), files


def _whole(folder: Path, name: str, commit: str) -> ModelFiles | None:
    """The model, if this commit is here and matches its manifest; a broken one is removed."""
    found = find_model(folder, name, commit)
    if found is None:
        return None
    if check(found).state == "ok":
        return found
    shutil.rmtree(found.path)
    return None


def _fetch(name: str, commit: str, asked: str | None, files: list[HubFile], place: Path) -> None:
    part = place / f".{commit}.part"
    _download(name, commit, files, part)
    digests = {file.name: _digest(part / file.name, file, name) for file in files}
    shutil.rmtree(part / ".cache", ignore_errors=True)  # the hub client's own data
    manifest = Manifest(
        name=name,
        revision=commit,
        asked=asked,
        pulled_at=time.time(),
        sha256=digests,
        sizes={file.name: (part / file.name).stat().st_size for file in files},
    )
    draft = place / f".{commit}.json"
    draft.write_text(manifest.to_json(), "utf-8")
    draft.replace(place / f"{commit}.json")
    part.rename(place / commit)  # from here on it is a valid model


def _download(name: str, commit: str, files: list[HubFile], part: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        snapshot_download(
            name, revision=commit, local_dir=part, allow_patterns=[glob.escape(file.name) for file in files]
        )
    except Exception as error:
        raise _hub_error(name, commit, error) from error


def _digest(path: Path, file: HubFile, name: str) -> str:
    """The file's SHA-256, if it matches the hub's hash.

    Otherwise the file is removed, so that a new pull fetches it.
    """
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        raise ServiceUnavailable(f"{file.name} of {name!r} was not downloaded.", RESUME) from None
    wanted = file.sha256 or file.git_blob
    if (found if file.sha256 else git_blob_of(path)) != wanted:
        path.unlink()
        raise PermanentError(
            f"{file.name} of {name!r} is not what the hub lists: {found[:12]}… instead of "
            f"{(wanted or 'nothing')[:12]}….",
            "It was removed, and nothing was installed. Run the command again; if it differs again, don't trust that "
            "hub.",
        )
    return found


def _hub_error(name: str, revision: str | None, error: Exception) -> PipelineError:
    """Convert an exception of the hub's client into one of this project's errors."""
    from huggingface_hub import constants, errors

    at = f" at revision {revision!r}" if revision else ""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"There is no space for the model {name!r}.", f"Free disk space. {RESUME}")
    if isinstance(error, errors.GatedRepoError):
        return UsageError(
            f"The model {name!r} requires accepting its terms.", "Accept them on the hub, and set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UsageError(f"The model {name!r} has no revision {revision!r}.", "Give a commit, a branch or a tag.")
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return UsageError(f"The hub has no model {name!r}{at}.", "Check the name. A private model needs HF_TOKEN.")
    if isinstance(error, errors.OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return ServiceUnavailable(
            f"The model {name!r} can't be downloaded: HF_HUB_OFFLINE is set.", f"Unset it for this command. {ELSEWHERE}"
        )
    said = str(error).splitlines()[0] if str(error) else ""
    return ServiceUnavailable(
        f"The model {name!r} can't be downloaded from {constants.ENDPOINT}: {type(error).__name__}: {said}.",
        f"Check the network, HTTPS_PROXY and HF_ENDPOINT. {RESUME} {ELSEWHERE}",
    )


def _storage_error(folder: Path, error: OSError) -> PipelineError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"There is no space in the models folder {folder}.", f"Free disk space. {RESUME}")
    return UsageError(
        f"The models folder {folder} can't be written: {os.strerror(error.errno) if error.errno else error}.",
        "Choose another with --to or models.dir.",
    )
