"""Every built-in extractor keeps the contract that authors are given."""

from __future__ import annotations

import pytest

from semantik_pipeline.builtin.extractors.keywords import KeywordsExtractor
from semantik_pipeline.builtin.extractors.language import LanguageExtractor
from semantik_pipeline.builtin.extractors.patterns import PatternsExtractor
from semantik_pipeline.builtin.extractors.spacy_ner import SpacyNerExtractor
from semantik_pipeline.testing.extractors import ExtractorContract


class TestPatterns(ExtractorContract):
    def make_plugin(self):
        return PatternsExtractor()


class TestLanguage(ExtractorContract):
    def make_plugin(self):
        return LanguageExtractor({"languages": ["en", "de", "ja"], "min_letters": 20})


class TestKeywords(ExtractorContract):
    def make_plugin(self):
        return KeywordsExtractor()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A spaCy pipeline in a folder."""
    import spacy

    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "person", "pattern": "Ada Lovelace"}, {"label": "GPE", "pattern": "London"}])
    folder = tmp_path_factory.mktemp("model")
    nlp.to_disk(folder)
    return str(folder)


class TestSpacyNer(ExtractorContract):
    @pytest.fixture(autouse=True)
    def _with_model(self, model):
        self.model = model

    def make_plugin(self):
        return SpacyNerExtractor({"model": self.model})
