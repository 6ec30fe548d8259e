"""Words of plugins and libraries that answers repeat. A field of an answer that holds such has one of these types, and so
no answer tells what is known to be a secret, or has the shape of one, whatever route it comes by.

What the ledger keeps was scrubbed before it was written, by a process that knew more secrets than this one.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator


def _scrubbed(value: Any) -> Any:
    from semantik_pipeline.plugins.secrets import scrub_within

    return scrub_within(value)


#: A text with such words.
ScrubbedText = Annotated[str, AfterValidator(_scrubbed)]

#: An object with such words anywhere in it.
ScrubbedObject = Annotated[dict[str, Any], AfterValidator(_scrubbed)]
