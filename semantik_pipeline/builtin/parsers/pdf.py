"""The parser ``pdf``: the text layer of a PDF, page by page, with pypdfium2."""

from __future__ import annotations

from typing import Any

from semantik_pipeline.contracts import HealthState, HealthStatus, ParserPlugin
from semantik_pipeline.documents import Element, ParsedDocument
from semantik_pipeline.errors import SkipDocument, UnsupportedContent

# FPDF_ERR_PASSWORD and FPDF_ERR_SECURITY from PDFium's fpdfview.h
_NEEDS_PASSWORD = {4, 5}
_NO_TITLE = {"", "untitled", "unknown", "none"}


class PdfParser(ParserPlugin):
    """The text of all pages, with a blank line between them, and one element ``page`` for each page that has text.

    ``metadata["pages"]`` is the number of pages, and ``metadata["unreadable_pages"]`` lists damaged ones. The title is
    from the file's own metadata.
    """

    PLUGIN_ID = "pdf"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {
        "name": "PDF",
        "description": "The text of PDF files with page numbers.",
        "requires": ["pypdfium2>=4.30"],
    }

    @classmethod
    def supported_media_types(cls) -> list[str]:
        return ["application/pdf"]

    @classmethod
    def supported_extensions(cls) -> list[str]:
        return [".pdf"]

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)

    def parse(
        self,
        content: bytes,
        *,
        file_path: str | None = None,
        media_type: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ParsedDocument:
        name = file_path or "The PDF"
        document = _open(content, name)
        try:
            texts, unreadable = _pages(document)
            about: dict[str, Any] = {"pages": len(document)}
            title = document.get_metadata_value("Title").replace("\0", "").strip()
        finally:
            document.close()
        if unreadable:
            about["unreadable_pages"] = unreadable
        if not any(texts):
            raise _nothing_read(name, len(texts), unreadable)
        text, elements = _joined(texts)
        return ParsedDocument(text, elements, about, None if title.lower() in _NO_TITLE else title)


def _open(content: bytes, name: str) -> Any:
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in _NEEDS_PASSWORD:
            raise UnsupportedContent(f"{name} needs a password.", "Save a copy without one.") from error
        raise UnsupportedContent(f"{name} is damaged: no PDF reader can open it ({error}).") from error


def _pages(document: Any) -> tuple[list[str], list[int]]:
    """The text of each page, and the numbers (from 1) of the pages that could not be read."""
    import pypdfium2

    texts, unreadable = [], []
    for number in range(len(document)):
        try:
            texts.append(_page_text(document, number))
        except pypdfium2.PdfiumError:
            texts.append("")
            unreadable.append(number + 1)
    return texts, unreadable


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        layer = page.get_textpage()
        try:
            text = layer.get_text_range()
        finally:
            layer.close()
    finally:
        page.close()
    # PDFium writes U+FFFE (or U+0002) for a hyphen that only breaks a word at a line end
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for hyphen in ("\ufffe", "\x02"):
        text = text.replace(hyphen + "\n", "").replace(hyphen, "")
    return text.replace("\0", "").strip()


def _joined(texts: list[str]) -> tuple[str, list[Element]]:
    elements, parts, at = [], [], 0
    for number, text in enumerate(texts, start=1):
        if text:
            elements.append(Element("page", at, at + len(text), page=number))
            parts.append(text)
            at += len(text) + 2
    return "\n\n".join(parts), elements


def _nothing_read(name: str, pages: int, unreadable: list[int]) -> Exception:
    if unreadable:
        return UnsupportedContent(f"{name} is damaged: none of its {pages} pages could be read.")
    return SkipDocument(f"{name} has no text layer in its {pages} pages (scanned?).", "Run it through OCR first.")
