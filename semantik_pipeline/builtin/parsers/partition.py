"""Readers that convert the bytes of a format to pieces, most of them with the library ``unstructured``."""

from __future__ import annotations

import importlib
import io
import re
import shutil
from collections.abc import Callable, Iterable
from typing import Any

from semantik_pipeline.builtin.parsers.assembly import Piece, pieces
from semantik_pipeline.builtin.parsers.decoding import decode
from semantik_pipeline.builtin.parsers.html_pieces import html_pieces
from semantik_pipeline.builtin.parsers.mail import eml_pieces, msg_pieces
from semantik_pipeline.builtin.parsers.offline import prepare_unstructured
from semantik_pipeline.builtin.parsers.pandoc import html_of
from semantik_pipeline.builtin.parsers.sheets import workbook_pieces
from semantik_pipeline.builtin.parsers.xml import xml_pieces
from semantik_pipeline.errors import UnsupportedContent

#: The formats that are zip archives, which are checked before they are unpacked.
ARCHIVES = frozenset({"docx", "pptx", "xlsx", "odt", "epub"})

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)


def partition(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    """The document's pieces in reading order."""
    return _READERS[source_format](content, source_format, name)


def html_text(content: bytes, name: str) -> str:
    """Decode an HTML page, with the charset that it declares as ``declared`` of :func:`decode`."""
    declared = _CHARSET.search(content[:4096])
    return decode(content, name, declared=declared.group(1).decode("ascii") if declared else None)[0]


def _directly(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return pieces(_function(source_format)(file=io.BytesIO(content), languages=[""]))


def _html(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return html_pieces(html_text(content, name))


def _by_pandoc(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return html_pieces(html_of(content, source_format, name))


def _by_libreoffice(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    if shutil.which("soffice") is None:
        raise UnsupportedContent(
            f"{name} is in Microsoft's old .{source_format} format, which needs LibreOffice (soffice).",
            f"Install LibreOffice, or save the file as .{source_format}x.",
        )
    return _directly(content, source_format, name)


def _function(module: str) -> Callable[..., list[Any]]:
    prepare_unstructured()
    return getattr(importlib.import_module(f"unstructured.partition.{module}"), f"partition_{module}")


def _mail(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return eml_pieces(content)


def _outlook_mail(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return msg_pieces(content)


def _workbook(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return workbook_pieces(content)


def _old_workbook(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return _directly(content, "xlsx", name)


def _xml(content: bytes, source_format: str, name: str) -> Iterable[Piece]:
    return xml_pieces(content)


_READERS: dict[str, Callable[[bytes, str, str], Iterable[Piece]]] = {
    "docx": _directly,
    "pptx": _directly,
    "xlsx": _workbook,
    "xls": _old_workbook,
    "msg": _outlook_mail,
    "xml": _xml,
    "html": _html,
    "eml": _mail,
    "odt": _by_pandoc,
    "epub": _by_pandoc,
    "rtf": _by_pandoc,
    "doc": _by_libreoffice,
    "ppt": _by_libreoffice,
}
