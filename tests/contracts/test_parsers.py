"""Every built-in parser keeps the contract that authors are given, and no two claim the same."""

from __future__ import annotations

import io
from collections import Counter

import pypdfium2
import pytest

from semantik_pipeline.builtin.parsers.pdf import PdfParser
from semantik_pipeline.builtin.parsers.text import TextParser
from semantik_pipeline.builtin.parsers.unstructured import UnstructuredParser
from semantik_pipeline.testing.parsers import ParserContract, Sample

MARKDOWN = (
    b"# Lease\n\nA unit is claimed *before* it is worked on.\n\n- one\n- two\n\n"
    b"```py\nx = 1\n```\n\n| a | b |\n|---|---|\n"
)

# The least that a PDF is: PDFium finds the objects without a table of them.
PDF = b"""%PDF-1.4
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 5 0 R /Resources <</Font <</F 4 0 R>>>>>> endobj
4 0 obj <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>> endobj
5 0 obj <</Length 50>> stream
BT /F 12 Tf 20 200 Td (20 bottles of water) Tj ET
endstream endobj
trailer <</Root 1 0 R>>
%%EOF
"""


class TestText(ParserContract):
    samples = (
        Sample(content=MARKDOWN, phrase="claimed *before*", file_path="notes.md", media_type="text/markdown"),
        Sample(content=b"Title\n=====\n\nPart\n----\n\nText here.\n", phrase="Text here", file_path="a.rst"),
        Sample(content="naïve café\r\n\r\nnext".encode("latin-1"), phrase="naïve café", media_type="text/plain"),
        Sample(content="über\n".encode("utf-16"), phrase="über", file_path="u.txt"),
        Sample(content=b'{"a": 1}', phrase='"a"', media_type="application/json"),
        Sample(content=b"a,b\n1,2\n", phrase="1,2", media_type="text/csv"),
    )

    def make_plugin(self):
        return TextParser()


class TestPdf(ParserContract):
    samples = (Sample(content=PDF, phrase="bottles of water", file_path="memo.pdf"),)

    def make_plugin(self):
        return PdfParser()


class TestUnstructured(ParserContract):
    @pytest.fixture(autouse=True)
    def office(self):
        from docx import Document

        document, file = Document(), io.BytesIO()
        document.add_heading("Leases", 1)
        document.add_paragraph("A lease is renewed from an OS thread.")
        document.save(file)
        page = "<html><head><title>T</title></head><body><h1>Grüße</h1><p>Ein Satz über Pacht.</p></body></html>"
        self.samples = (
            Sample(content=file.getvalue(), phrase="A lease is renewed", file_path="leases.docx"),
            Sample(content=page.encode("latin-1"), phrase="über Pacht", media_type="text/html"),
            Sample(content=b"<r><a>first</a><b>second</b></r>", phrase="second", media_type="application/xml"),
            Sample(content=b"Subject: Hello\n\nA body.\n", phrase="A body.", media_type="message/rfc822"),
            Sample(content=rb"{\rtf1\ansi A rich sentence.\par}", phrase="A rich sentence", file_path="a.rtf"),
        )

    def make_plugin(self):
        return UnstructuredParser()


def test_no_two_built_in_parsers_claim_the_same():
    parsers = (TextParser, PdfParser, UnstructuredParser)
    for claims in ("supported_media_types", "supported_extensions"):
        counted = Counter(claim for parser in parsers for claim in getattr(parser, claims)())
        assert [claim for claim, times in counted.items() if times > 1] == []


def test_pdf_without_text_layer_is_skipped():
    from semantik_pipeline.errors import SkipDocument

    document, file = pypdfium2.PdfDocument.new(), io.BytesIO()
    document.new_page(200, 200)
    document.save(file)
    with pytest.raises(SkipDocument, match="no text layer"):
        PdfParser().parse(file.getvalue(), file_path="scan.pdf")
