"""Datasets in the BEIR layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv`` (or ``qrels/test.tsv``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import UsageError
from semantik_pipeline.search.evaluation.judged import Judged


@dataclass(frozen=True, kw_only=True)
class Dataset(Judged):
    """A test collection with grades by document id.

    Documents are read from the file ``corpus`` when :meth:`documents` is called, so memory does not grow with them.
    """

    corpus: Path

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield each document: ``_id``, ``text`` and other fields of its line. Raises UsageError naming the line."""
        for _, document in _records(self.corpus, ("_id", "text")):
            yield document


def read_dataset(folder: Path | str) -> Dataset:
    """Read queries and judgements from a folder. Raises UsageError that names the file and, if known, the line."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Name a dataset folder in the BEIR layout.")
    corpus = _present(folder, "corpus.jsonl")
    queries = _read_queries(_present(folder, "queries.jsonl"))
    judgements = _present(folder, "qrels.tsv", "qrels/test.tsv")
    dataset = Dataset(corpus=corpus, queries=queries, qrels=_read_qrels(judgements))
    if not dataset.judged:
        raise UsageError(
            f"{judgements} judges none of the queries in {folder / 'queries.jsonl'}.", "Compare their ids."
        )
    return dataset


def _present(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(
        f"{folder} has no {' and no '.join(names)}.", "The BEIR layout needs it; see `semantik eval --help`."
    )


def _read_queries(path: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for number, record in _records(path, ("_id", "text")):
        if record["_id"] in queries:
            raise UsageError(f"{path}, line {number}: the query id {record['_id']!r} occurs twice.")
        queries[record["_id"]] = record["text"]
    return queries


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read lines of query id, document id and grade. Of four columns (TREC's format), the second one is ignored."""
    qrels: dict[str, dict[str, int]] = {}
    for position, (number, line) in enumerate(_lines(path)):
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) not in (3, 4):
            raise UsageError(
                f"{path}, line {number}: {len(columns)} columns.",
                "Expected: query id, document id and grade, separated by tabs.",
            )
        query_id, document_id, grade = columns[0], columns[-2], columns[-1]
        if _is_whole(grade):
            qrels.setdefault(query_id, {})[document_id] = int(grade)
        elif position > 0:  # the first line may be a header
            raise UsageError(f"{path}, line {number}: the grade {grade!r} is not a whole number.")
    return qrels


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _records(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line number and JSON object of each line that is not empty.

    The ``fields`` must exist and be strings; an integer ``_id`` becomes a string.
    """
    for number, line in _lines(path):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: not valid JSON ({error}).") from None
        if not isinstance(record, dict):
            raise UsageError(f"{path}, line {number}: a {type(record).__name__}, not a JSON object.")
        for name in fields:
            if name == "_id" and isinstance(record.get(name), int):
                record[name] = str(record[name])
            if not isinstance(record.get(name), str):
                raise UsageError(f"{path}, line {number}: the field {name!r} is missing or not a string.")
        yield number, record


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not valid UTF-8: {error.reason}.") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}.") from None
