"""Large cursors as short text: JSON, compressed, and base64-encoded so that it fits into JSON again."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


def packed(value: Any) -> str:
    """A JSON value as short ASCII text. Names with common prefixes take only a few bytes each."""
    return base64.b64encode(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 6)).decode("ascii")


def unpacked(text: str) -> Any:
    """The inverse of :func:`packed`."""
    return json.loads(zlib.decompress(base64.b64decode(text)))
