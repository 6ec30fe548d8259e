"""Lines of a JSONL file that share an id: the last one is indexed, and the sync reports it.

The next sync has nothing to do.
"""

from __future__ import annotations

import json

from semantik_pipeline.builtin.connectors import json_lines
from semantik_pipeline.ledger.operations import outcomes
from semantik_pipeline.operations import SourceRequest


def test_a_repeated_id_costs_nothing_in_the_next_sync(make_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "BATCH_LINES", 5)
    rows = [{"id": f"doc-{number % 15:02}", "text": f"text number {number} of the corpus"} for number in range(20)]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(json.dumps(row) for row in rows))
    pipeline = make_pipeline(sync={"batch_size": 5})
    lines = SourceRequest(connector="jsonl", name="corpus", config={"path": str(corpus)})
    for kind in ("new", "unchanged"):
        result = pipeline.index(lines)
        counted = {name: number for name, number in result["documents"].items() if number}
        assert counted == {"seen": 15, kind: 15} and result["outcome"] == "degraded"
        with pipeline.runtime.ledger.read() as tx:
            problems = outcomes.problems(tx, result["id"])
        assert len(problems) == 5 and "the id 'doc-00' occurs on 2 lines, from line 1 to line 16" in problems[0]
        assert pipeline.unit("doc-00")["revision"] == 1
    corpus.write_text("\n".join(json.dumps(row) for row in rows[:15]))
    result = pipeline.index(lines)
    assert (result["documents"]["changed"], result["outcome"]) == (5, "succeeded")
