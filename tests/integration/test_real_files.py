"""Real files of many formats, from folder to text: 25 of the 31 read, the others say why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from semantik_pipeline.builtin.connectors.directory import DirectoryConnector
from semantik_pipeline.builtin.connectors.file_uri import uri_of
from semantik_pipeline.builtin.parsers.pdf import PdfParser
from semantik_pipeline.builtin.parsers.text import TextParser
from semantik_pipeline.builtin.parsers.unstructured import UnstructuredParser
from semantik_pipeline.documents import DocumentReference
from semantik_pipeline.errors import SkipDocument, UnsupportedContent
from semantik_pipeline.testing.connectors import enumerated, fetched, references
from semantik_pipeline.testing.parsers import check_parsed

FILES = Path(os.environ.get("SEMANTIK_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data") / "files"
pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason=f"no test data at {FILES}")

#: name -> (parser, a phrase of its own)
READ = {
    "README.rst": (TextParser, "sample docs directory contains"),
    "a1977-backus-p21.pdf": (PdfParser, "recursive functions without a definition"),
    "book-war-and-peace-1p.txt": (TextParser, "family estates of the\nBuonapartes"),
    "category-level.docx": (UnstructuredParser, "Call me Ishmael"),
    "codeblock.md": (TextParser, "Don't forget me this weekend!"),
    "csv-with-long-lines.csv": (TextParser, "SpearmanCorrelationCoefficient"),
    "docx-tables.docx": (UnstructuredParser, "Lorem ipsum | A link example"),
    "eng_spa_mult.epub": (UnstructuredParser, "Todos los seres humanos nacen libres"),
    "example-10k-1p.html": (UnstructuredParser, "Commission file number: 000-30653"),
    "example-steelJIS-datasheet-utf-16.html": (UnstructuredParser, "成分 % of grade SNB22-3"),
    "factbook.xml": (UnstructuredParser, "Justin Trudeau"),
    "fake-email-utf-16.eml": (UnstructuredParser, "Roses are red"),
    "fake-email.msg": (UnstructuredParser, "Violets are blue"),
    "fake-html-lang-de.html": (UnstructuredParser, "Jahresabschluss zum Geschäftsjahr"),
    "fake-memo.pdf": (PdfParser, "20,000 bottles of water"),
    "fake-power-point.pptx": (UnstructuredParser, "Find the bullet slide layout"),
    "fake-text-utf-16.txt": (TextParser, "Hamburgers are delicious"),
    "fake.odt": (UnstructuredParser, "Leader | Sarah | Mark | Ryan"),
    "family-day.eml": (UnstructuredParser, "a petting zoo"),
    "interface-config-guide-p93.pdf": (PdfParser, "Multiple PXCs on the same underlying"),
    "mime-html-only.eml": (UnstructuredParser, "Gmail was launched by Google in 2004"),
    "norwich-city.txt": (TextParser, "Roberts celebrating after scoring"),
    "single-column.csv": (TextParser, "tempor incididunt"),
    "spring-weather.html.json": (TextParser, "News Around NOAA"),
    "stanley-cups.xlsx": (UnstructuredParser, "Maple Leafs | TOR | 13"),
}

#: name -> (parser, answer, what it says)
NOT_READ = {
    "duplicate-paragraphs.doc": (UnstructuredParser, UnsupportedContent, "needs LibreOffice"),
    "fake-text-all-whitespace.txt": (TextParser, SkipDocument, "only white space"),
    "password.pdf": (PdfParser, UnsupportedContent, "needs a password"),
    "password_protected.xlsx": (UnstructuredParser, UnsupportedContent, "is encrypted"),
    "simple.zip": (None, None, "application/zip"),
    "truncated.pdf": (PdfParser, UnsupportedContent, "is damaged"),
}


def fetch(name: str):
    connector = DirectoryConnector({"path": str(FILES)})
    return fetched(connector, DocumentReference(uri_of(str(FILES / name))))


def parser_of(media_type: str):
    """As the host chooses: the exact media type, then its family."""
    for wanted in (media_type, media_type.partition("/")[0] + "/*"):
        for parser in (TextParser, PdfParser, UnstructuredParser):
            if wanted in parser.supported_media_types():
                return parser
    return None


def test_the_tables_name_every_file():
    found = {
        one.unique_id.rpartition("/")[2] for one in references(enumerated(DirectoryConnector({"path": str(FILES)})))
    }
    assert found == set(READ) | set(NOT_READ)
    assert len(READ) >= 24


@pytest.mark.parametrize("name", READ)
def test_file_is_read(name):
    expected, phrase = READ[name]
    document = fetch(name)
    parser = parser_of(document.media_type)
    assert parser is expected
    parsed = parser().parse(document.content, file_path=document.file_path, media_type=document.media_type)
    check_parsed(parsed)
    assert phrase in parsed.text


@pytest.mark.parametrize("name", NOT_READ)
def test_file_says_why_it_is_not_read(name):
    expected, answer, reason = NOT_READ[name]
    document = fetch(name)
    parser = parser_of(document.media_type)
    assert parser is expected
    if parser is None:
        assert document.media_type == reason
        return
    with pytest.raises(answer, match=reason):
        parser().parse(document.content, file_path=document.file_path, media_type=document.media_type)
