"""Types for fields of responses that may contain text from plugins and libraries. They remove values that are known to
be secrets, or look like one, whichever route returns them.

What the ledger stores was already scrubbed when it was written, by a process that may have known other secrets.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator


def _scrubbed(value: Any) -> Any:
    from semantik_pipeline.plugins.secrets import scrub_within

    return scrub_within(value)


#: A text without secrets.
ScrubbedText = Annotated[str, AfterValidator(_scrubbed)]

#: An object without secrets at any level.
ScrubbedObject = Annotated[dict[str, Any], AfterValidator(_scrubbed)]
