"""The language and keywords extractors: answers, silence where unsure, errors that name the way out."""

from __future__ import annotations

import asyncio
import importlib.util

import pytest

from semantik_pipeline.builtin.extractors.keywords import KeywordsExtractor
from semantik_pipeline.builtin.extractors.language import LanguageExtractor
from semantik_pipeline.errors import PluginConfigError, PluginLoadError

ENGLISH = (
    "The pressure distribution over the wing was measured in the wind tunnel at several angles of attack, and the "
    "measured pressure distribution agrees well with what the theory of thin airfoils says about it."
)
GERMAN = (
    "Die Druckverteilung über dem Flügel wurde im Windkanal bei mehreren Anstellwinkeln gemessen, und die gemessene "
    "Druckverteilung stimmt gut mit dem überein, was die Theorie der dünnen Profile darüber sagt."
)


@pytest.fixture(scope="module")
def language():
    plugin = LanguageExtractor()
    asyncio.run(plugin.initialize())
    return plugin


@pytest.mark.parametrize(("text", "code"), [(ENGLISH, "en"), (GERMAN, "de"), (GERMAN * 200, "de")])
def test_names_the_language(language, text, code):
    result = asyncio.run(language.extract(text))
    assert result.language == code
    assert result.language_confidence > 0.9


@pytest.mark.parametrize("text", ["", "hello world", "42 " * 500, "!?" * 300])
def test_says_nothing_where_there_is_little_to_go_by(language, text):
    result = asyncio.run(language.extract(text))
    assert (result.language, result.language_confidence) == (None, None)


def test_looks_beyond_the_beginning(language):
    assert asyncio.run(language.extract(ENGLISH[:100] + GERMAN * 30)).language == "de"


def test_an_unknown_language_is_named():
    with pytest.raises(PluginConfigError, match="'xx'"):
        asyncio.run(LanguageExtractor({"languages": ["en", "xx"]}).initialize())
    health = asyncio.run(LanguageExtractor.health_check({"languages": ["en", "xx"]}))
    assert (health.status, "'xx'" in health.reason) == ("unhealthy", True)


def test_keywords_are_the_telling_phrases():
    plugin = KeywordsExtractor({"top": 5})
    found = asyncio.run(plugin.extract(ENGLISH)).keywords
    assert 0 < len(found) <= 5
    assert any("pressure distribution" in phrase for phrase in found)


def test_keywords_use_the_stop_words_of_the_text():
    found = asyncio.run(KeywordsExtractor().extract(GERMAN)).keywords
    assert not {phrase.lower() for phrase in found} & {"die", "und die", "über dem"}
    assert any("druckverteilung" in phrase.lower() for phrase in found)


def test_unknown_stop_words_are_named():
    with pytest.raises(PluginConfigError, match="'qq'"):
        asyncio.run(KeywordsExtractor({"language": "qq"}).initialize())


def test_without_yake_the_way_out_is_said(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "yake" else real(name, *rest))
    with pytest.raises(PluginLoadError, match=r"pip install semantik-pipeline\[keywords\]"):
        asyncio.run(KeywordsExtractor().initialize())
    assert "semantik-pipeline[keywords]" in asyncio.run(KeywordsExtractor.health_check()).reason
