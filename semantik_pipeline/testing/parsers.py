"""The requirements for every parser, as one check and as a test class for authors.

Subclass :class:`ParserContract` in your tests; give it your plugin, and a few documents with a phrase from each::

    class TestMine(ParserContract):
        samples = (Sample(content=b"...", media_type="application/x-mine", phrase="what it says"),)

        def make_plugin(self):
            return MyParser()
"""

from __future__ import annotations

import json
import pickle
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from semantik_pipeline.contracts import ParserPlugin
from semantik_pipeline.documents import ParsedDocument
from semantik_pipeline.errors import PermanentError, SkipDocument


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A document and a phrase that its text must contain."""

    content: bytes
    phrase: str
    file_path: str | None = None
    media_type: str | None = None


def check_parsed(parsed: ParsedDocument) -> None:
    """Assert what every parsed document must satisfy: storable text, and elements that lie within it, in order."""
    assert parsed.text.strip(), "a document without text must raise SkipDocument"
    assert "\0" not in parsed.text, "databases refuse NUL in a text"
    parsed.text.encode("utf-8")  # no lone surrogates
    json.dumps(parsed.metadata, allow_nan=False).encode("utf-8")
    for element in parsed.elements:
        assert 0 <= element.start < element.end <= len(parsed.text), f"{element} lies outside of the text"
        assert element.page is None or element.page >= 1, f"{element}: pages count from 1"
        assert isinstance(element.section, tuple)
    assert all(a.start <= b.start for a, b in pairwise(parsed.elements)), "elements are in order of start"
    assert parsed.title is None or parsed.title.strip(), "no title is None, not an empty string"


class ParserContract:
    """Tests that every parser must pass."""

    samples: ClassVar[tuple[Sample, ...]] = ()

    def make_plugin(self) -> ParserPlugin:
        raise NotImplementedError("Return the plugin under test.")

    def parse(self, plugin: ParserPlugin, sample: Sample) -> ParsedDocument:
        return plugin.parse(sample.content, file_path=sample.file_path, media_type=sample.media_type)

    def test_holds_the_laws_of_parsing(self) -> None:
        assert self.samples, "give the contract a sample"
        plugin = self.make_plugin()
        for sample in self.samples:
            parsed = self.parse(plugin, sample)
            check_parsed(parsed)
            assert sample.phrase in parsed.text
            assert pickle.loads(pickle.dumps(parsed)) == parsed

    def test_same_bytes_same_text(self) -> None:
        plugin = self.make_plugin()
        for sample in self.samples:
            assert self.parse(plugin, sample) == self.parse(self.make_plugin(), sample)

    def test_claims_are_well_formed(self) -> None:
        plugin = self.make_plugin()
        media_types, extensions = plugin.supported_media_types(), plugin.supported_extensions()
        assert media_types or extensions, "a parser that claims nothing is never chosen"
        assert all(kind == kind.lower() and kind.count("/") == 1 for kind in media_types)
        assert all(extension == extension.lower() and extension.startswith(".") for extension in extensions)

    def test_damaged_content_is_answered_not_suffered(self) -> None:
        """Truncated and corrupted documents give a text, or one of the errors that quarantine or skip a document."""
        chance = random.Random(7)
        plugin = self.make_plugin()
        for sample in self.samples:
            for content in _damaged(sample.content, chance):
                try:
                    parsed = plugin.parse(content, file_path=sample.file_path, media_type=sample.media_type)
                except (PermanentError, SkipDocument) as answer:
                    assert str(answer), "the answer says why"
                else:
                    check_parsed(parsed)


def _damaged(content: bytes, chance: random.Random) -> list[bytes]:
    scribbled = bytearray(content)
    for _ in range(len(content) // 50 + 1):
        if scribbled:
            scribbled[chance.randrange(len(scribbled))] = chance.randrange(256)
    return [b"", b" \n", content[: len(content) // 2], bytes(scribbled), chance.randbytes(2000)]
