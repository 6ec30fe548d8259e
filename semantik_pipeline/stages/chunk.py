"""chunk: parse documents and cut them into chunks. Leaves parsed bodies and chunk rows behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from semantik_pipeline import logs
from semantik_pipeline.concurrency import map_in_order
from semantik_pipeline.errors import ChildError, ChildOutOfMemory, LeaseLost, SkipDocument
from semantik_pipeline.ledger import Transaction
from semantik_pipeline.ledger.database.bulk import pools
from semantik_pipeline.ledger.documents import content
from semantik_pipeline.ledger.documents.content import ChunkRow, Twin
from semantik_pipeline.ledger.ingestion import revisions
from semantik_pipeline.ledger.queue import bulk_moves, work
from semantik_pipeline.ledger.queue.work import UNREAD, Claim, Unit
from semantik_pipeline.plugins.child_errors import rebuild
from semantik_pipeline.stages.chunk_jobs import Job, jobs, parse_key_of
from semantik_pipeline.stages.chunk_reuse import find_twins, rows_of
from semantik_pipeline.stages.chunk_rows import chunk_rows, title_of
from semantik_pipeline.stages.claims import READY, Claims, Held
from semantik_pipeline.stages.embed_service import embed_service
from semantik_pipeline.stages.embedder_errors import leave
from semantik_pipeline.stages.journal import about
from semantik_pipeline.stages.parsing import Chunked, ChunkRequest, choose_parser, parse_and_chunk, plugins_of
from semantik_pipeline.stages.unit_errors import fail, lacks, told

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import Generation
    from semantik_pipeline.runtime import Runtime

#: Maximum number of chunk rows written by one transaction, so that nobody waits long for the ledger.
ROWS = 2000

#: Bytes of documents that one request gives to a child together. A larger document goes alone. Small requests let the
#: child work on one while the one before it is saved.
TOGETHER = 128_000

#: Requests that are made ahead of their saving, and the bytes of their documents. A larger document is alone.
AHEAD, AHEAD_BYTES = 3, 4 * TOGETHER

#: The answers of a child: for each document of a request its chunks, or why there are none.
Answers = list["Chunked | BaseException"]


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """The result of the chunk stage for one unit."""

    unit: Unit
    parse_key: str
    text_hash: str | None
    rows: list[ChunkRow]


def run(runtime: Runtime, claims: Claims) -> None:
    """Reuse the chunks of other generations, and parse and chunk the remaining documents in a child process.

    Small documents are processed and saved in groups. While one group is saved, the child works on the next.
    """
    for held in claims:
        pieces = _Pieces(runtime, claims, held)
        with suppress(LeaseLost):
            pieces.run()
        runtime.statistics.refresh(runtime.ledger)


class _Pieces:
    """The pieces of a claim: units that are processed and saved together."""

    def __init__(self, runtime: Runtime, claims: Claims, held: Held) -> None:
        self.runtime, self.claims, self.held = runtime, claims, held
        self._begun = False  # at least one piece of each claim is begun, so that every claim makes progress
        self._over = False

    def run(self) -> None:
        """Process the claim. Units that it leaves when it should make way are given back. Raises LeaseLost."""
        runtime, units = self.runtime, {unit.key: unit for unit in self.held.claim.units}
        twins = _twins(runtime, units)
        left = [unit for key, unit in units.items() if key not in twins]
        for pool in pools([((units[key], twin), twin.chunks) for key, twin in twins.items()], ROWS):
            if self._makes_way():
                return
            with self._saving([unit for unit, _ in pool]):
                _take_over(runtime, self.held.claim, pool, left)
        requests = groups(jobs(runtime, self.held, left))
        ahead = map_in_order(self._asked, requests, threads=1, ahead=AHEAD, size=_size_of, limit=AHEAD_BYTES)
        with closing(ahead):
            for group, answers in ahead:
                if answers is None:
                    return
                with self._saving([job.unit for job in group]):
                    _settle_group(runtime, self.held, group, answers)

    def _makes_way(self) -> bool:
        """Whether no further piece begins; if not, one begins."""
        self._over |= self.claims.stopping or (self._begun and (self.held.wanted or self.held.lasts))
        self._begun = True
        return self._over

    def _asked(self, group: list[Job]) -> Answers | Exception | None:
        """Return a child's answers or its error; None if the group is not begun because the claim makes way."""
        if self._makes_way():
            return None
        try:
            with logs.bound(**about([job.unit for job in group])):
                return _ask(self.runtime, self.held, group)
        except Exception as error:
            return error

    @contextmanager
    def _saving(self, units: list[Unit]) -> Iterator[None]:
        """Save a piece in the block: its errors are charged to its units, and later stages hear of them."""
        self.held.hold.check()
        try:
            with logs.bound(**about(units)):
                yield
        except LeaseLost:
            raise
        except Exception as error:  # a full disk, or an unreachable ledger
            fail(self.runtime, self.held.claim, units, error)
        self.held.hold.touch()
        for stage in {_next_stage(self.runtime, unit) for unit in units}:
            self.runtime.ring(stage)


def groups(jobs: Iterator[Job]) -> Iterator[list[Job]]:
    """Yield the jobs in order, in groups of one document or of several small ones."""
    group: list[Job] = []
    size = 0
    for job in jobs:
        other = group and job.unit.generation_id != group[0].unit.generation_id  # another embedder serves its child
        if other or (group and size + (job.unit.size or 0) > TOGETHER):
            yield group
            group, size = [], 0
        group.append(job)
        size += job.unit.size or 0
    if group:
        yield group


def _twins(runtime: Runtime, units: Mapping[tuple[int, int], Unit]) -> dict[tuple[int, int], Twin]:
    """Return, by unit key, the chunks that another generation made from the same parse."""
    found: dict[tuple[int, int], Twin] = {}
    for key, twins in find_twins(runtime, list(units.values())).items():
        try:
            parse_key = parse_key_of(runtime, units[key])[1] if twins else None
        except Exception:  # it fails again when the unit is parsed, and is recorded there
            continue
        twin = next((one for one in twins if one.parse_key == parse_key), None)
        if twin is not None:
            found[key] = twin
    return found


def _take_over(runtime: Runtime, claim: Claim, twins: Sequence[tuple[Unit, Twin]], left: list[Unit]) -> None:
    """Give units the chunks of their twins. Units whose twin has disappeared are added to ``left`` to be chunked."""
    rows = rows_of(runtime, twins)
    left += [unit for unit, _ in twins if unit.key not in rows]
    done = [
        Chunks(unit=unit, parse_key=twin.parse_key, text_hash=twin.text_hash, rows=rows[unit.key])
        for unit, twin in twins
        if unit.key in rows
    ]
    _save(runtime, claim, done)


def prepare(runtime: Runtime, generation: Generation) -> None:
    """Start a child that has its plugins and the tokenizer, by parsing and chunking the text :data:`READY`."""
    config, media_type = generation.config, "text/plain"
    parser = choose_parser(
        runtime.host.registry.of_kind("parser"),
        media_type=media_type,
        file_path=None,
        by_media_type=config["parsers"]["by_media_type"],
    )
    request = ChunkRequest(
        content=READY.encode(),
        parsed=None,
        file_path=None,
        media_type=media_type,
        metadata={},
        **plugins_of(config, parser),
    )
    services = {"embed": embed_service(runtime, generation.id)}
    deadline = runtime.settings.child.parse_deadline
    [answer] = runtime.children.run(parse_and_chunk, [request], deadline=deadline, services=services)
    if isinstance(answer, bytes):
        raise rebuild(answer)


def _ask(runtime: Runtime, held: Held, group: list[Job]) -> Answers:
    """Send one request to a child. Raises ChildError or ChildOutOfMemory if the child dies or is too slow."""
    held.hold.check()
    answers = runtime.children.run(
        parse_and_chunk,
        [job.request for job in group],
        deadline=runtime.settings.child.deadline_of(_size_of(group)),
        services={
            "embed": embed_service(runtime, group[0].unit.generation_id),
            "progress": lambda share: held.hold.touch(),
        },
        waiting=held.hold.touch,
    )
    return [rebuild(answer) if isinstance(answer, bytes) else answer for answer in answers]


def _settle_group(runtime: Runtime, held: Held, group: list[Job], answers: Answers | Exception) -> None:
    """Save the answers. If there are none because the child failed, try each document alone to find the bad one."""
    if isinstance(answers, ChildError | ChildOutOfMemory):
        if len(group) > 1:
            _each_alone(runtime, held, group)
            return
        answers = [answers]
    if isinstance(answers, Exception):
        raise answers
    if any(map(lacks, answers)):
        _leave(runtime, group[0].unit.generation_id)
    _settle(runtime, held.claim, group, answers)


def _each_alone(runtime: Runtime, held: Held, group: list[Job]) -> None:
    for number, job in enumerate(group):
        if number and held.wanted:
            return  # the remaining units are given back
        with logs.bound(**about([job.unit])):
            try:
                answers: Answers = _ask(runtime, held, [job])
            except (ChildError, ChildOutOfMemory) as error:
                answers = [error]
            _settle_group(runtime, held, [job], answers)
        held.hold.touch()


def _size_of(group: list[Job]) -> int:
    return sum(job.unit.size or 0 for job in group)


def _leave(runtime: Runtime, generation_id: int) -> None:
    """Leave the stage to other workers, unless :data:`READY` can be chunked: then only one parser lacks something."""
    try:
        prepare(runtime, runtime.generation(generation_id))
    except Exception as error:  # the documents' own errors are recorded separately
        leave(runtime, generation_id, "chunk", error)


def _next_stage(runtime: Runtime, unit: Unit) -> str:
    extraction = runtime.generation(unit.generation_id).config["extraction"]
    return "extract" if extraction["chunk"] or extraction["document"] else "embed"


def _settle(runtime: Runtime, claim: Claim, group: list[Job], answers: list[Chunked | BaseException]) -> None:
    """Save the chunked documents, a small group in one transaction, and record the failed ones."""
    chunked = ((job, answer) for job, answer in zip(group, answers, strict=True) if isinstance(answer, Chunked))
    new = [(job.parse_key, answer.packed) for job, answer in chunked if answer.packed is not None]
    runtime.blobs.put_many("parsed", new)
    done: list[Chunks] = []
    titles: list[tuple[int, int, str | None]] = []
    for job, answer in zip(group, answers, strict=True):
        unit = job.unit
        if isinstance(answer, SkipDocument):
            _skip(runtime, claim, unit, told(answer))
        elif isinstance(answer, BaseException):
            fail(runtime, claim, [unit], answer, alone=True)
        else:
            rows = chunk_rows(runtime.generation(unit.generation_id), unit, answer)
            if (title := title_of(unit.metadata, answer.title)) != unit.title:
                titles.append((unit.document_id, unit.revision, title))
            done.append(Chunks(unit=unit, parse_key=job.parse_key, text_hash=answer.text_hash, rows=rows))
    _save(runtime, claim, done, titles)


def _save(
    runtime: Runtime, claim: Claim, done: list[Chunks], titles: Sequence[tuple[int, int, str | None]] = ()
) -> None:
    if not done:
        return
    if sum(len(one.rows) for one in done) > ROWS:
        for one in done:
            _write_ahead(runtime, claim, one.unit, one.rows)
    done.sort(key=lambda one: one.unit.key)
    with runtime.ledger.write() as tx:
        revisions.set_titles(tx, titles)  # documents are locked before their units, as in a sync
        mine = work.held(tx, claim.token)
        _finish(runtime, tx, [one for one in done if one.unit.key in mine])


def _write_ahead(runtime: Runtime, claim: Claim, unit: Unit, rows: list[ChunkRow]) -> None:
    """Write a large document's rows in several transactions. :func:`_finish` writes the last ones."""
    for start in range(0, len(rows) - ROWS, ROWS):
        with runtime.ledger.write() as tx:
            if unit.key not in work.held(tx, claim.token):
                return
            if start == 0:
                _drop_rows(tx, [unit])
            content.write_chunks(tx, [(unit, rows[start : start + ROWS])])


def _finish(runtime: Runtime, tx: Transaction, done: list[Chunks]) -> None:
    """Write the remaining rows and send the units to the next stage. Call under :func:`work.held`."""
    ahead = {one.unit.key: len(range(0, len(one.rows) - ROWS, ROWS)) * ROWS for one in done}
    _drop_rows(tx, [one.unit for one in done if not ahead[one.unit.key]])
    content.write_chunks(tx, [(one.unit, one.rows[ahead[one.unit.key] :]) for one in done])
    values = [
        {
            "chunks": len(one.rows),
            "chunks_epoch": one.unit.epoch,
            "parse_key": one.parse_key,
            "text_hash": one.text_hash,
        }
        for one in done
    ]
    stages = [_next_stage(runtime, one.unit) for one in done]
    bulk_moves.move_all(tx, list(zip([one.unit for one in done], stages, values, strict=True)))


def _drop_rows(tx: Transaction, units: list[Unit]) -> None:
    """Delete rows of an earlier try. Rows of the indexed points stay until new points are in the store."""
    content.drop_chunks(tx, [(unit, {unit.indexed_chunks_epoch} - {unit.epoch}) for unit in units])


def _skip(runtime: Runtime, claim: Claim, unit: Unit, reason: str) -> None:
    """Skip a document without content to index: remove it from the store and list it with the reason."""
    with runtime.ledger.write() as tx:
        if unit.key in work.held(tx, claim.token):
            stage = "upsert" if unit.touched else "skipped"
            content.drop_chunks(tx, [(unit, {unit.indexed_chunks_epoch})])
            work.move(tx, unit, stage, goal="skipped", reason=reason, chunks=0, chunks_epoch=None, **UNREAD)
    runtime.ring("upsert")
