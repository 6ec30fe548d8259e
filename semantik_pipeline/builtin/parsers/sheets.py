"""Reads workbooks row by row with openpyxl, in a tenth of the time that a data frame and an HTML table per sheet
take."""

from __future__ import annotations

import io
from collections.abc import Iterator

from semantik_pipeline.builtin.parsers.assembly import Piece


def workbook_pieces(content: bytes) -> Iterator[Piece]:
    """Yield one table for each block of rows between empty rows. The sheet's number is the page, its name the section.
    Formulas are replaced by their values."""
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    try:
        for page, sheet in enumerate(book.worksheets, start=1):
            sheet.reset_dimensions()  # some programs declare fewer cells than they write
            for block in _blocks(sheet.iter_rows(values_only=True)):
                yield Piece(kind="table", text="\n".join(block), page=page, section=(sheet.title,))
    finally:
        book.close()


def _blocks(rows: Iterator[tuple]) -> Iterator[list[str]]:
    block: list[str] = []
    for row in rows:
        cells = [" ".join(str(value).split()) for value in row if value is not None]
        if any(cells):
            block.append(" | ".join(cell for cell in cells if cell))
        elif block:
            yield block
            block = []
    if block:
        yield block
