"""What each chunker is for: where it ends a chunk, what it keeps together, what it tells of a chunk's place."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from semantik_pipeline.builtin.chunkers.boundaries import sentence_boundaries
from semantik_pipeline.builtin.chunkers.fixed_token import FixedTokenChunker
from semantik_pipeline.builtin.chunkers.markdown import MarkdownChunker
from semantik_pipeline.builtin.chunkers.recursive import RecursiveChunker
from semantik_pipeline.builtin.chunkers.semantic import SemanticChunker
from semantik_pipeline.builtin.chunkers.sentence import SentenceChunker
from semantik_pipeline.contracts import ChunkConfig
from semantik_pipeline.documents import Element
from semantik_pipeline.errors import PluginConfigError
from semantik_pipeline.testing.chunkers import check_chunks

ALL = [RecursiveChunker, MarkdownChunker, SentenceChunker, FixedTokenChunker, SemanticChunker]


def count(texts):
    """One token a word."""
    return [len(text.split()) for text in texts]


def words(number, name="w"):
    return " ".join(f"{name}{n}" for n in range(number))


def config(most=20, least=0, overlap=0, **more):
    return ChunkConfig(max_tokens=most, min_tokens=least, overlap_tokens=overlap, count_tokens=count, **more)


# -- recursive -------------------------------------------------------------------------------------------------------


def test_recursive_ends_at_a_paragraph_rather_than_at_the_last_sentence_that_fits():
    text = f"{words(14)}.\n\n{words(4, 'A')}. {words(10, 'B')}."
    assert [c.text for c in RecursiveChunker().chunk(text, config())] == text.split("\n\n")


def test_recursive_leaves_no_chunk_half_empty_for_a_better_border():
    text = f"{words(4)}.\n\n{words(10, 'A')}. {words(10, 'B')}."
    assert RecursiveChunker().chunk(text, config())[0].token_count == 14


def test_recursive_does_not_cross_a_page_or_a_top_heading():
    text = f"Title\n\n{words(5)}\n\nOne\n{words(5)}\n\nTwo\n{words(5)}"
    one, two, page = text.index("One"), text.index("Two"), text.index("w3", text.index("Two"))
    elements = [
        Element("heading", 0, 5, 1),
        Element("heading", one, one + 3, 1, ("Title",)),
        Element("heading", two, two + 3, 1, ("Title",)),
        Element("paragraph", page, len(text), 2, ("Title", "Two")),
    ]
    chunks = RecursiveChunker().chunk(text, config(40, least=2, elements=elements))
    assert [c.start for c in chunks] == [0, one, two, page]
    assert [c.metadata for c in chunks] == [
        {"page": 1, "section": ["Title"]},
        {"page": 1, "section": ["Title", "One"]},
        {"page": 1, "section": ["Title", "Two"]},
        {"page": 2, "section": ["Title", "Two"]},
    ]
    (whole,) = RecursiveChunker().chunk(text, config(40, least=30, elements=elements))
    assert whole.metadata == {"page": 1, "section": ["Title"]}


def test_recursive_overlaps_by_whole_sentences_or_by_the_last_words():
    short = " ".join(f"Sentence {n} here." for n in range(20))
    for first, second in pairwise(RecursiveChunker().chunk(short, config(overlap=7))):
        assert short[second.start : first.end].count("Sentence") == 2
        assert second.text.startswith("Sentence")
    long = f"{words(18)}. {words(18, 'x')}. {words(18, 'y')}."
    first, second, *_ = RecursiveChunker().chunk(long, config(24, overlap=6))
    assert 3 <= len(long[second.start : first.end].split()) <= 6


def test_recursive_keeps_a_heading_with_its_text():
    text = f"{words(15)}.\n\n# Head\n\n{words(15)}."
    head = text.index("# Head")
    elements = [Element("heading", head, head + 6)]
    assert RecursiveChunker().chunk(text, config(elements=elements))[1].text.startswith("# Head\n\nw0")


def test_recursive_separators_take_the_place_of_paragraphs_and_sentences():
    text = "one two. three;four five. six;seven eight"
    chunks = RecursiveChunker().chunk(text, config(4, separators=[";", " "]))
    assert [c.text for c in chunks] == ["one two. three;", "four five. six;", "seven eight"]


def test_hard_wrapped_lines_do_not_end_sentences():
    text = "this line is wrapped by a\nmail program somewhere. Then a\nsecond sentence comes. And\nhere is the third."
    chunks = RecursiveChunker().chunk(text, config(12))
    assert all(chunk.text.endswith(".") for chunk in chunks)


# -- markdown --------------------------------------------------------------------------------------------------------

MARKDOWN = f"""# Guide

{words(6)}

## Install

```sh
# not a heading

make
```

## Use

| a | b |
|---|---|
| 1 | 2 |
"""


def test_markdown_makes_a_chunk_of_each_section_and_names_its_path():
    chunks = MarkdownChunker().chunk(MARKDOWN, config(60, least=2))
    assert [c.metadata["section"] for c in chunks] == [["Guide"], ["Guide", "Install"], ["Guide", "Use"]]
    assert [c.text.splitlines()[0] for c in chunks] == ["# Guide", "## Install", "## Use"]


def test_markdown_keeps_code_and_tables_whole_where_they_fit():
    code = "```\n" + "\n\n".join(f"step {n}" for n in range(5)) + "\n```"
    text = f"{words(12)}.\n\n{code}\n\n{words(12)}."
    assert code in [c.text for c in MarkdownChunker().chunk(text, config(16))]
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {n} | x |" for n in range(3))
    text = f"{words(20)}.\n\n{table}\n\n{words(20)}."
    assert table in [c.text for c in MarkdownChunker().chunk(text, config(24))]


def test_markdown_uses_the_parsers_headings_where_there_are_some():
    text = f"Chapter\n{words(5)}\n# a comment\n{words(5)}"
    chunks = MarkdownChunker().chunk(text, config(40, elements=[Element("heading", 0, 7, 3)]))
    assert [c.metadata for c in chunks] == [{"page": 3, "section": ["Chapter"]}]


# -- sentence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("First one. Second one! Third?", ["Second one! Third?", "Third?"]),
        ("Dr. Smith met Mr. J. Jones, e.g. in Fig. 3 or at 3.14 p.m. today.", []),
        ('He said "stop." Then he left.', ["Then he left."]),
        ("第一句话在这里。第二句话在这里！", ["第二句话在这里！"]),
        ("tokenised text . the next one .", ["the next one ."]),
        ("wait... what is it", []),
        ("\n1. first item\n2. second item", []),
        ("see . . . . . . . . 12", []),
    ],
)
def test_sentences_end_where_a_reader_says(text, starts):
    found = [text[place:] for place, _ in sentence_boundaries(text)]
    assert found == starts or (not starts and all(". ." in text for _ in found))


def test_sentence_packs_and_repeats_whole_sentences():
    text = " ".join(f"This is sentence number {n}." for n in range(12))
    chunks = SentenceChunker().chunk(text, config(22, overlap=7))
    assert len(chunks) == 4
    for chunk in chunks:
        assert chunk.text.startswith("This") and chunk.text.endswith(".")
    for first, second in pairwise(chunks):
        assert text[second.start : first.end].count("This") == 1


# -- fixed-token -----------------------------------------------------------------------------------------------------


def test_fixed_windows_are_full_and_overlap_exactly():
    text = words(100)
    chunks = FixedTokenChunker().chunk(text, config(20, overlap=5))
    assert [c.token_count for c in chunks[:-1]] == [20] * (len(chunks) - 1)
    assert {count([text[b.start : a.end]])[0] for a, b in pairwise(chunks)} == {5}


# -- semantic --------------------------------------------------------------------------------------------------------


def _two_subjects(texts):
    return np.array([[text.count("sea") + 0.1, text.count("tax") + 0.1] for text in texts], np.float32)


def test_semantic_splits_where_the_subject_changes():
    text = "The sea is wide. A sea has waves. The sea is deep. The tax is due. A tax is paid. No tax is low."
    chunks = SemanticChunker().chunk(text, config(100, embed=_two_subjects))
    assert [c.text for c in chunks] == [text[: text.index("The tax") - 1], text[text.index("The tax") :]]
    assert len(SemanticChunker().chunk(text, config(100, embed=_two_subjects, options={"window": 1}))) == 2
    (together,) = SemanticChunker().chunk(text, config(100, embed=_two_subjects, semantic_threshold=-1.0))
    assert together.text == text


def test_semantic_embeds_in_batches():
    sizes = []

    def embed(texts):
        sizes.append(len(texts))
        return _two_subjects(texts)

    SemanticChunker().chunk("The sea is calm. " * 600, config(100, embed=embed))
    assert sum(sizes) == 600
    assert max(sizes) <= 256


def test_semantic_without_a_model_says_why():
    with pytest.raises(PluginConfigError, match="no embedding model"):
        SemanticChunker().chunk("text", config())


# -- all -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunker", ALL)
@pytest.mark.parametrize(
    "budget",
    [{"max_tokens": 0}, {"overlap_tokens": 20}, {"overlap_tokens": -1}, {"min_tokens": 21}, {"max_tokens": "many"}],
)
def test_contradictory_budgets_are_refused(chunker, budget):
    with pytest.raises(PluginConfigError, match="_tokens"):
        chunker().chunk("text", replace(config(20, embed=_two_subjects), **budget))


@pytest.mark.parametrize("chunker", ALL)
def test_the_budget_is_what_the_host_says_and_not_what_was_asked_for(chunker):
    """The model's window may be smaller than the collection's option."""
    chunks = chunker().chunk(words(100), config(10, options={"max_tokens": 50}, embed=_two_subjects))
    assert max(c.token_count for c in chunks) == 10


@pytest.mark.parametrize("chunker", ALL)
def test_every_option_is_described_and_the_defaults_are_valid(chunker):
    import jsonschema

    schema = chunker.get_config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    defaults = {name: spec["default"] for name, spec in schema["properties"].items()}
    jsonschema.validate(defaults, schema)
    assert {"max_tokens", "min_tokens", "overlap_tokens"} <= set(defaults)


@pytest.mark.parametrize("chunker", ALL)
def test_counts_in_few_calls(chunker):
    """Tokenizers are fast in batches and slow one by one."""
    calls = []

    def counted(texts):
        calls.append(len(texts))
        return count(texts)

    text = "\n\n".join(f"Paragraph {n} has some words. And a second sentence follows it." for n in range(2000))
    setting = replace(config(40, least=5, overlap=8, embed=_two_subjects), count_tokens=counted)
    chunks = chunker().chunk(text, setting)
    assert len(chunks) > 300
    assert len(calls) < 30
    check_chunks(text, chunks, setting)
