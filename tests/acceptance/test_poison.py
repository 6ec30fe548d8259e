"""A document that kills the whole process each time: only that document is quarantined; all others are indexed."""

from __future__ import annotations

from semantik_pipeline.testing.misbehaviour import CRASH_EXIT_CODE

ATTEMPTS = 2


def test_a_document_that_kills_its_process_is_quarantined_and_all_others_are_indexed(semantik, corpus):
    folder = corpus(40)
    (folder / "bad.txt").write_text("POISON for the embedder, in the parent process: no child dies for it.")
    semantik.environment["SEMANTIK_WORK_MAX_ATTEMPTS"] = str(ATTEMPTS)
    semantik.configure(log_path=str(semantik.log), crash_on="POISON")
    codes = []
    while not codes or codes[-1] == CRASH_EXIT_CODE:
        assert len(codes) <= ATTEMPTS + 1, "it was not isolated"
        process = semantik.start("index", str(folder))
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert codes == [CRASH_EXIT_CODE] * (ATTEMPTS + 1) + [3]  # one death in company, the attempts alone, then degraded
    listed = {row["document"].rpartition("/")[2]: row for row in semantik.run("documents", "list")["documents"]}
    bad = listed.pop("bad.txt")
    assert bad["status"] == "quarantined"
    assert len(listed) == 40
    assert {row["status"] for row in listed.values()} == {"indexed"}
    report = semantik.run("verify")
    assert (report["missing"], report["orphaned"], report["stale"]) == (0, 0, 0)
