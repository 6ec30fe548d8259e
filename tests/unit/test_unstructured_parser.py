"""The parser `unstructured`: what it makes of structure, and what it refuses before it unpacks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile

import pytest

from semantik_pipeline.builtin.parsers.archives import refuse_bad_archive
from semantik_pipeline.builtin.parsers.unstructured import UnstructuredParser
from semantik_pipeline.errors import SkipDocument, UnsupportedContent
from semantik_pipeline.testing.parsers import check_parsed


def parse(content: bytes, name: str, **config):
    parsed = UnstructuredParser(config).parse(content, file_path=name)
    check_parsed(parsed)
    return parsed


def office(save) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def bomb(size: int, *, member: str = "word/document.xml") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open(member, "w") as entry:
            for _ in range(size // 2**20):
                entry.write(bytes(2**20))
    return file.getvalue()


def test_docx_has_headings_sections_tables_and_its_title():
    from docx import Document

    document = Document()
    document.core_properties.title = "The manual"
    document.add_heading("Part", 1)
    document.add_heading("Chapter", 2)
    document.add_paragraph("A sentence of the chapter, long enough to be one.")
    table = document.add_table(2, 2)
    for at, text in enumerate(("a", "b", "1", "2")):
        table.cell(at // 2, at % 2).text = text
    parsed = parse(office(document.save), "manual.docx")
    assert parsed.title == "The manual"
    assert [(one.kind, parsed.text[one.start : one.end], one.section) for one in parsed.elements] == [
        ("heading", "Part", ()),
        ("heading", "Chapter", ("Part",)),
        ("paragraph", "A sentence of the chapter, long enough to be one.", ("Part", "Chapter")),
        ("table", "a | b\n1 | 2", ("Part", "Chapter")),
    ]


def test_slides_and_sheets_are_pages():
    from openpyxl import Workbook
    from pptx import Presentation

    slides = Presentation()
    for title in ("First slide", "Second slide"):
        slides.slides.add_slide(slides.slide_layouts[0]).shapes.title.text = title
    parsed = parse(office(slides.save), "a.pptx")
    assert {parsed.text[one.start : one.end]: one.page for one in parsed.elements} == {
        "First slide": 1,
        "Second slide": 2,
    }
    book = Workbook()
    book.active.title = "Costs"
    book.active.append(["item", "price"])
    book.active.append(["lease", 15])
    parsed = parse(office(book.save), "a.xlsx")
    assert "lease | 15" in parsed.text and parsed.elements[0].section == ("Costs",)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_html_is_decoded_and_its_scripts_left_out(encoding):
    page = (
        f'<?xml version="1.0" encoding="{encoding}"?><html><head><meta charset="{encoding}"><title> Über\n uns </title>'
        "<script>var hidden = 1</script><style>p {color: red}</style></head><body><h2>Größe</h2><p>Ein "
        "Satz.</p></body></html>"
    )
    parsed = parse(page.encode(encoding), "a.html")
    assert (parsed.title, parsed.text) == ("Über uns", "Größe\n\nEin Satz.")


def test_a_charset_that_is_declared_is_believed():
    page = '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r"><p>Привет</p>'.encode("koi8-r")
    assert parse(page, "a.html").text == "Привет"


def test_mail_begins_with_its_head():
    mail = (
        "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nFrom: Ada <ada@example.org>\nDate: Fri, 16 Dec 2022 17:04:16 -0500\n\n"
        "The body.\n"
    )
    parsed = parse(mail.encode(), "a.eml")
    assert parsed.title == "Grüße" and parsed.metadata["from"] == "Ada <ada@example.org>"
    assert parsed.text.startswith("Grüße\n\nFrom: Ada <ada@example.org>") and parsed.text.endswith("The body.")


def test_zip_bombs_are_refused_before_they_are_unpacked():
    with pytest.raises(UnsupportedContent, match=r"a\.docx would unpack from .* zip bomb"):
        parse(bomb(100 * 2**20), "a.docx")
    with pytest.raises(UnsupportedContent, match="zip bomb"):
        parse(bomb(4 * 2**20), "a.docx", max_unpacked_bytes=2**20)
    refuse_bad_archive(bomb(4 * 2**20), "a.docx", max_unpacked=2**30)


def test_the_list_of_files_is_not_unpacked_before_the_sizes_are_looked_at(monkeypatch):
    content, opened = bomb(100 * 2**20, member="META-INF/manifest.xml"), []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args, **options: opened.append(args))
    with pytest.raises(UnsupportedContent, match="zip bomb"):
        refuse_bad_archive(content, "a.odt", max_unpacked=2**30)
    assert not opened


def test_a_damaged_list_of_files_is_a_damaged_archive():
    content = bytearray(bomb(2**20, member="META-INF/manifest.xml"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        at = archive.getinfo("META-INF/manifest.xml").header_offset + 30 + len("META-INF/manifest.xml")
    content[at : at + 20] = b"\xff" * 20
    with pytest.raises(UnsupportedContent, match=r"a\.odt is damaged"):
        refuse_bad_archive(bytes(content), "a.odt", max_unpacked=2**30)


def test_a_size_that_lies_does_not_unpack_more():
    """The declared size is set to 10 bytes in a bomb's directory: a reader gets ten bytes, never 100 MB."""
    lying = bytearray(bomb(100 * 2**20))
    with zipfile.ZipFile(io.BytesIO(lying)) as archive:
        real = archive.getinfo("word/document.xml").file_size.to_bytes(4, "little")
    lying = bytes(lying).replace(real, (10).to_bytes(4, "little"))
    with pytest.raises(UnsupportedContent):
        parse(lying, "a.docx")


def test_a_sheet_that_declares_too_few_cells_is_read_whole():
    from openpyxl import Workbook

    book = Workbook()
    for number in range(20):
        book.active.append([f"row {number}", number])
    content, file = office(book.save), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'<dimension ref="A1:B20"', b'<dimension ref="A1"'))
    assert file.getvalue() != content
    assert "row 19 | 19" in parse(file.getvalue(), "a.xlsx").text


def test_xml_keeps_together_what_stands_together():
    xml = b"<r><c><n>Canada</n><t>Ottawa</t></c><c><n>France</n><t>Paris</t></c><p>It <b>is</b> so.</p></r>"
    assert parse(xml, "a.xml").text == "Canada\nOttawa\n\nFrance\nParis\n\nIt is so."


@pytest.mark.parametrize(
    "page", ["<div>" * 5000 + "end &amp; more" + "</div>" * 5000, "<b>x" * 3000 + "<p>end &amp; more"]
)
def test_html_of_any_depth_is_read_to_its_end(page):
    parsed = parse(f"<html><head><title>T</title></head><body>{page}</body></html>".encode(), "a.html")
    assert parsed.text.endswith("end & more") and parsed.title == "T"


def test_xml_entities_neither_explode_nor_read_files(tmp_path):
    (tmp_path / "secret").write_text("hidden words")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bombs = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY l0 "ha">{laughs}]><r>&l9;</r>'
    outside = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]><r>seen <a>&x;</a></r>'
    for content in (bombs, outside):
        with pytest.raises(UnsupportedContent, match=r"[Ee]ntity") as refused:
            parse(content.encode(), "a.xml")
        assert "hidden words" not in str(refused.value)


def test_pandoc_reads_no_other_file(tmp_path):
    (tmp_path / "secret").write_text("hidden words")
    rtf = rb'{\rtf1 seen {\field{\*\fldinst INCLUDETEXT "' + os.fsencode(tmp_path) + rb'/secret"}} \par}'
    assert "hidden" not in parse(rtf, "a.rtf").text


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx", "a.pptx", "a.odt", "a.epub"])
def test_truncated_archives_are_damaged(name):
    with pytest.raises(UnsupportedContent, match=f"{name} is damaged"):
        parse(bomb(2**20)[:300], name)


def test_encrypted_archives_say_so():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("META-INF/manifest.xml", "<manifest:encryption-data/>")
    with pytest.raises(UnsupportedContent, match="is encrypted"):
        parse(file.getvalue(), "a.odt")


def test_other_media_types_are_named():
    for media_type in ("image/png", "application/zip", "audio/mpeg"):
        with pytest.raises(UnsupportedContent, match=media_type):
            UnstructuredParser().parse(b"\x89PNG\r\n\x1a\n" + bytes(99), file_path="x", media_type=media_type)


def test_a_page_without_text_is_skipped():
    with pytest.raises(SkipDocument, match="no text"):
        parse(b"<html><body><img src='x.png'></body></html>", "a.html")


def test_it_works_without_a_network_and_loads_nothing_at_import():
    """In a process of its own: importing the plugin is light, parsing opens no connection and prints nothing."""
    program = (
        "import sys, socket\n"
        "from semantik_pipeline.builtin.parsers.unstructured import UnstructuredParser\n"
        "heavy = {'spacy', 'unstructured', 'torch', 'lxml', 'pypandoc', 'puremagic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "def refuse(*args): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "page = b'<h1>One</h1><p>A sentence. Another one, which is a bit longer than the first.</p>'\n"
        "UnstructuredParser().parse(page, file_path='a.html')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
