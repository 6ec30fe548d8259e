"""Named entities: a small trained pipeline is used, a missing one is named."""

from __future__ import annotations

import asyncio
import random

import pytest

from semantik_pipeline.builtin.extractors.spacy_ner import SpacyNerExtractor
from semantik_pipeline.errors import PluginConfigError, PluginLoadError

_NAMES = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Niklaus", "Radia", "Tony", "Frances"]
_TOWNS = ["London", "Paris", "Zurich", "Vienna", "Boston", "Oslo", "Dublin", "Austin", "Leiden", "Prague"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A pipeline trained on a hundred made-up sentences, in a folder."""
    import spacy
    from spacy.training import Example

    spacy.util.fix_random_seed(7)
    nlp = spacy.blank("en")
    ner = nlp.add_pipe("ner")
    for label in ("Person", "GPE"):
        ner.add_label(label)
    examples = []
    for name in _NAMES:
        for town in _TOWNS:
            text = f"Yesterday {name} travelled to {town} by train."
            spans = [(10, 10 + len(name), "Person"), (text.index(town), text.index(town) + len(town), "GPE")]
            examples.append(Example.from_dict(nlp.make_doc(text), {"entities": spans}))
    optimizer = nlp.initialize(lambda: examples)
    order = random.Random(7)
    for _ in range(4):
        order.shuffle(examples)
        for start in range(0, len(examples), 20):
            nlp.update(examples[start : start + 20], sgd=optimizer)
    folder = tmp_path_factory.mktemp("ner")
    nlp.meta["name"], nlp.meta["version"] = "travellers", "1.2.3"
    nlp.to_disk(folder)
    return str(folder)


def _extract(config, texts):
    plugin = SpacyNerExtractor(config)
    asyncio.run(plugin.initialize())
    return [[(e.type, e.text) for e in r.entities] for r in asyncio.run(plugin.extract_batch(texts))]


def test_a_trained_pipeline_finds_its_entities(model):
    texts = ["Yesterday Grace travelled to Vienna by train.", "", "Yesterday Alan travelled to Oslo by train."]
    assert _extract({"model": model}, texts) == [
        [("PERSON", "Grace"), ("GPE", "Vienna")],
        [],
        [("PERSON", "Alan"), ("GPE", "Oslo")],
    ]


def test_only_the_wanted_types_are_kept(model):
    assert _extract({"model": model, "types": ["person"]}, ["Yesterday Ada travelled to Paris by train."]) == [
        [("PERSON", "Ada")]
    ]


def test_a_text_longer_than_the_model_takes_is_read_in_parts(model):
    plugin = SpacyNerExtractor({"model": model})
    asyncio.run(plugin.initialize())
    plugin._nlp.max_length = 46
    text = "Yesterday Grace travelled to Vienna by train. Yesterday Alan travelled to Oslo by train."
    found = asyncio.run(plugin.extract(text)).entities
    assert ("GPE", "Oslo") in [(e.type, e.text) for e in found]
    assert all(text[e.start : e.end] == e.text for e in found)


def test_the_revision_names_the_model_and_its_version(model):
    revision = SpacyNerExtractor({"model": model}).output_revision()
    assert revision.startswith("en_travellers 1.2.3 ")
    assert "spacy 3." in revision


def test_a_missing_model_is_named_with_the_way_out():
    with pytest.raises(PluginLoadError, match=r"'xx_no_such_model' is not installed.*python -m spacy download"):
        asyncio.run(SpacyNerExtractor({"model": "xx_no_such_model"}).initialize())
    health = asyncio.run(SpacyNerExtractor.health_check({"model": "xx_no_such_model"}))
    assert health.status == "unhealthy"
    assert "xx_no_such_model" in health.reason


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(PluginConfigError, match=r"has no meta\.json"):
        asyncio.run(SpacyNerExtractor({"model": str(tmp_path)}).initialize())


def test_a_pipeline_without_entities_is_refused(tmp_path):
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.to_disk(tmp_path)
    with pytest.raises(PluginLoadError, match="no component that finds entities"):
        asyncio.run(SpacyNerExtractor({"model": str(tmp_path)}).initialize())
