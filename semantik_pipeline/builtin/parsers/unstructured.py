"""The parser ``unstructured``: office files, HTML, mail and e-books, with the library of that name, offline."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from semantik_pipeline.builtin.media_types import media_type as media_type_of
from semantik_pipeline.builtin.parsers.archives import encrypted, refuse_bad_archive, refuse_encrypted_ole
from semantik_pipeline.builtin.parsers.assembly import assemble
from semantik_pipeline.builtin.parsers.decoding import decode
from semantik_pipeline.builtin.parsers.mail import MailHead, head_of_eml, head_of_msg
from semantik_pipeline.builtin.parsers.partition import ARCHIVES, html_text, partition
from semantik_pipeline.contracts import HealthState, HealthStatus, ParserPlugin
from semantik_pipeline.contracts.media_names import NAMED
from semantik_pipeline.documents import ParsedDocument
from semantik_pipeline.errors import PipelineError, SkipDocument, UnsupportedContent

_EXTENSIONS = "docx pptx xlsx xls odt epub rtf html xml eml msg doc ppt"
#: Maps media types to formats.
FORMATS: dict[str, str] = {
    **{NAMED[f".{extension}"]: extension for extension in _EXTENSIONS.split()},
    "text/rtf": "rtf",
    "text/xml": "xml",
    "application/xhtml+xml": "html",
}
_NO_TITLE = {"", "powerpoint presentation", "word document", "untitled"}


class UnstructuredParser(ParserPlugin):
    """Makes one element of each piece of the document, with a blank line between them. Tables have one line per row.

    Pages are slides, sheets, or pages between the page breaks in a document. Mail starts with its subject and head; the
    messages that it contains follow its text.
    """

    PLUGIN_ID = "unstructured"
    PLUGIN_VERSION = "1.1.0"
    OUTPUT_VERSION = "2"
    METADATA = {
        "name": "Office, HTML, mail, e-books",
        "description": "docx, pptx, xlsx, odt, epub, rtf, html, xml, eml, msg; .doc and .ppt if LibreOffice is"
        " installed.",
        "requires": ["unstructured>=0.16"],
    }

    @classmethod
    def supported_media_types(cls) -> list[str]:
        return list(FORMATS)

    @classmethod
    def supported_extensions(cls) -> list[str]:
        return [extension for extension, kind in NAMED.items() if kind in FORMATS]

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "max_unpacked_bytes": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 512 * 2**20,
                    "description": "Maximum unpacked size of an archive (docx, xlsx, epub …), in bytes.",
                    "x-operational": True,
                }
            },
        }

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
        name = file_path or "The document"
        source_format = _format(content, file_path, media_type)
        self._refuse(content, source_format, name)
        content = _as_utf8(content, name) if source_format == "eml" else content
        try:
            return _parsed(content, source_format, name)
        except (PipelineError, MemoryError, ImportError):
            raise
        except Exception as error:  # two dozen libraries, each with its own errors for broken files
            raise _refusal(error, source_format, name) from error

    def _refuse(self, content: bytes, source_format: str, name: str) -> None:
        refuse_encrypted_ole(content, name)
        if source_format in ARCHIVES:
            limit = self.config.get("max_unpacked_bytes", 512 * 2**20)
            refuse_bad_archive(content, name, max_unpacked=limit)


def _format(content: bytes, file_path: str | None, media_type: str | None) -> str:
    kind = media_type if media_type in FORMATS else media_type_of(content, file_path or "")
    if kind not in FORMATS:
        raise UnsupportedContent(
            f"{file_path or 'The document'} is {media_type or kind}, which this parser does not support."
        )
    return FORMATS[kind]


def _parsed(content: bytes, source_format: str, name: str) -> ParsedDocument:
    parts = partition(content, source_format, name)
    head = _mail_head(content, source_format)
    text, elements, first_heading = assemble([*head.pieces(), *parts])
    if not text:
        raise SkipDocument(f"{name} contains no text.")
    title = head.subject or _own_title(content, source_format, name) or first_heading
    return ParsedDocument(text, elements, dict(head.metadata), title)


def _mail_head(content: bytes, source_format: str) -> MailHead:
    if source_format == "eml":
        return head_of_eml(content)
    return head_of_msg(content) if source_format == "msg" else MailHead()


def _own_title(content: bytes, source_format: str, name: str) -> str | None:
    """The title in the document's own metadata; None if it is empty or a placeholder."""
    from lxml import etree
    from lxml import html as parser

    title = None
    if source_format == "html":
        found = parser.document_fromstring(
            html_text(content, name).encode(), parser=parser.HTMLParser(encoding="utf-8")
        )
        title = found.findtext(".//title")
    elif source_format in ("docx", "pptx", "xlsx"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if "docProps/core.xml" in archive.NameToInfo:
                title = etree.fromstring(archive.read("docProps/core.xml")).findtext(".//{*}title")
    title = " ".join((title or "").split())
    return None if title.lower() in _NO_TITLE else title


def _as_utf8(content: bytes, name: str) -> bytes:
    """Convert a mail that was saved as UTF-16 to UTF-8. Any other mail is unchanged."""
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return decode(content, name)[0].encode("utf-8") if is_utf16 else content


def _refusal(error: Exception, source_format: str, name: str) -> UnsupportedContent:
    said = " ".join(str(error).split()) or type(error).__name__
    if any(word in said.lower() for word in ("encrypt", "password")):
        return encrypted(name)
    return UnsupportedContent(f"{name} cannot be read as {source_format}: {said[:300]}.")
