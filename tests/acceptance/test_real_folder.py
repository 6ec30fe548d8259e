"""A folder of real files through the command line: indexed, searched, edited, emptied, and indexed again."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.conftest import SETTINGS

FILES = Path(os.environ.get("SEMANTIK_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data") / "files"
needs_files = pytest.mark.skipif(not FILES.is_dir(), reason=f"no test data at {FILES}")

#: A phrase of each readable file, in words as BM25 splits them.
PHRASES = {
    "README.rst": "sample docs directory contains",
    "a1977-backus-p21.pdf": "recursive functions without a definition",
    "book-war-and-peace-1p.txt": "family estates of the Buonapartes",
    "category-level.docx": "Call me Ishmael",
    "codeblock.md": "Don't forget me this weekend",
    "csv-with-long-lines.csv": "SpearmanCorrelationCoefficient",
    "docx-tables.docx": "Lorem ipsum A link example",
    "eng_spa_mult.epub": "Todos los seres humanos nacen libres",
    "example-10k-1p.html": "Commission file number 000-30653",
    "factbook.xml": "Justin Trudeau",
    "fake-email-utf-16.eml": "Roses are red utf-16",
    "fake-email.msg": "Violets are blue",
    "fake-html-lang-de.html": "Jahresabschluss zum Geschäftsjahr",
    "fake-memo.pdf": "20,000 bottles of water",
    "fake-power-point.pptx": "Find the bullet slide layout",
    "fake-text-utf-16.txt": "Hamburgers are delicious",
    "fake.odt": "Leader Sarah Mark Ryan",
    "family-day.eml": "a petting zoo",
    "interface-config-guide-p93.pdf": "Multiple PXCs on the same underlying",
    "mime-html-only.eml": "Gmail was launched by Google in 2004",
    "norwich-city.txt": "Roberts celebrating after scoring",
    "single-column.csv": "tempor incididunt",
    "spring-weather.html.json": "News Around NOAA",
    "stanley-cups.xlsx": "Maple Leafs TOR 13",
}

#: Files that can't be indexed, with their status and a word of the reason.
REASONS = {
    "duplicate-paragraphs.doc": ("quarantined", "LibreOffice"),
    "fake-text-all-whitespace.txt": ("skipped", "white space"),
    "password.pdf": ("quarantined", "password"),
    "password_protected.xlsx": ("quarantined", "encrypted"),
    "simple.zip": ("quarantined", "application/zip"),
    "truncated.pdf": ("quarantined", "damaged"),
}


def adds_up(answer: dict) -> None:
    documents, chunks = answer["documents"], answer["chunks"]
    assert documents["seen"] == sum(documents[kind] for kind in ("new", "changed", "unchanged", "skipped"))
    assert chunks["total"] == chunks["embedded"] + chunks["reused"]


def names(answer: dict) -> list[str]:
    return [hit["document"].rpartition("/")[2] for hit in answer["hits"]]


@needs_files
@pytest.mark.timeout(300)
def test_real_files(semantik, tmp_path):
    folder = shutil.copytree(FILES, tmp_path / "files")
    semantik.configure(log_path=str(semantik.log))
    semantik.settings.write_text(SETTINGS)  # with the built-in extractors
    first = semantik.run("index", str(folder), code=3, timeout=240)  # degraded, because some files can't be read
    adds_up(first)
    assert first["outcome"] == "degraded"
    assert first["documents"]["seen"] == len(list(FILES.iterdir()))
    assert first["documents"]["quarantined"] == 5
    assert first["documents"]["skipped"] == 1
    listed = {row["document"].rpartition("/")[2]: row for row in semantik.run("documents", "list")["documents"]}
    for name, (status, word) in REASONS.items():
        assert listed[name]["status"] == status, listed[name]
        assert word in listed[name]["reason"], listed[name]
    found = {name for name, answer in semantik.answers(PHRASES, limit=5).items() if name in names(answer)}
    assert len(found) >= 24, f"not found: {sorted(set(PHRASES) - found)}"

    before = len(semantik.embedded())
    again = semantik.run("index", str(folder), code=3)
    adds_up(again)
    assert again["documents"]["new"] == again["documents"]["changed"] == 0
    assert len(semantik.embedded()) == before

    (folder / "norwich-city.txt").unlink()
    note = folder / "codeblock.md"
    note.write_text(note.read_text() + "\n\nThe quaggamussel arrived on Tuesday.\n")
    (folder / "new.txt").write_text("A thylacine was seen again.")
    third = semantik.run("index", str(folder), code=3)
    adds_up(third)
    assert [third["documents"][kind] for kind in ("new", "changed", "deleted")] == [1, 1, 1]
    assert names(semantik.run("search", "quaggamussel", "--mode", "sparse", "--no-rerank"))[0] == "codeblock.md"
    assert names(semantik.run("search", "thylacine", "--mode", "sparse", "--no-rerank"))[0] == "new.txt"
    gone = semantik.run("search", PHRASES["norwich-city.txt"], "--mode", "sparse", "--no-rerank", "--limit", "50")
    assert "norwich-city.txt" not in names(gone)
    assert semantik.run("verify")["clean"]


@pytest.mark.timeout(300)
def test_nasty_files_are_named_and_harm_nobody(semantik, tmp_path):
    folder = tmp_path / "nasty"
    folder.mkdir()
    good = {f"good{number}.txt": f"A wombat of number {number}." for number in range(5)}
    for name, text in good.items():
        (folder / name).write_text(text)
    (folder / "empty.txt").touch()
    (folder / "white.txt").write_text(" \n\t\n ")
    (folder / "binary.txt").write_bytes(os.urandom(4096))
    (folder / "cut.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<<")
    (folder / "really-a-png.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(2000))
    (folder / "latin.txt").write_bytes("Ein Café über den Dächern der Stadt, déjà vu".encode("latin-1"))
    (folder / "new\nline.txt").write_text("A numbat with a strange name.")
    Path(os.fsdecode(os.fsencode(folder) + b"/in\xffvalid.txt")).write_text("A bilby with a stranger name.")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "outside.txt").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe.txt")
    bomb = folder / "bomb.docx"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"0" * 300_000_000)
    # Larger than a claim of `chunk`, so that it is processed alone; few words, so that little is embedded.
    (folder / "large.txt").write_bytes((b"The same sentence about a quokka." + b" " * 80 + b"\n") * 5_500)
    semantik.configure(log_path=str(semantik.log))
    answer = semantik.run("index", str(folder), code=3, timeout=240)
    adds_up(answer)
    listed = {row["document"].rpartition("/")[2]: row for row in semantik.run("documents", "list")["documents"]}
    assert all(listed[name]["status"] == "indexed" for name in good)
    expected = {
        "empty.txt": "skipped",
        "white.txt": "skipped",
        "pipe.txt": "skipped",
        "outside.txt": "skipped",
        "binary.txt": "quarantined",
        "cut.pdf": "quarantined",
        "really-a-png.txt": "quarantined",
        "bomb.docx": "quarantined",
        "latin.txt": "indexed",
        "new%0Aline.txt": "indexed",
        "in%FFvalid.txt": "indexed",
        "large.txt": "indexed",
    }
    assert {name: listed[name]["status"] for name in expected} == expected
    assert all(listed[name]["reason"] for name, status in expected.items() if status != "indexed")
    assert answer["documents"]["seen"] == len(listed)
    for word, name in (("numbat", "new%0Aline.txt"), ("bilby", "in%FFvalid.txt"), ("Dächern", "latin.txt")):
        assert names(semantik.run("search", word, "--mode", "sparse", "--no-rerank"))[0] == name
    assert semantik.run("verify")["clean"]
