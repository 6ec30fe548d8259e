"""Cursors that hold many things: JSON, deflated, as text that goes into JSON again."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


def packed(value: Any) -> str:
    """A JSON value as short ASCII text. Names that share their beginnings come to a few bytes each."""
    return base64.b64encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 6)).decode("ascii")


def unpacked(text: str) -> Any:
    """The value of :func:`packed`."""
    return json.loads(zlib.decompress(base64.b64decode(text)))
