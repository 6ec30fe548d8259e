"""Patterns: each form found, at its place, and nothing that only looks like it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.extractors.patterns import PatternsExtractor
from semantik_pipeline.errors import PluginConfigError


@pytest.fixture(scope="module")
def patterns():
    plugin = PatternsExtractor()
    asyncio.run(plugin.initialize())
    return plugin


def _found(plugin, text):
    return [(e.type, e.text) for e in asyncio.run(plugin.extract(text)).entities]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ask Ada.Lovelace+x@mail.example.co.uk.", ("EMAIL", "Ada.Lovelace+x@mail.example.co.uk")),
        ("(see <bob@example.org>)", ("EMAIL", "bob@example.org")),
        ("Email:foo@bar.com", ("EMAIL", "foo@bar.com")),
        ("联系a@b.com。", ("EMAIL", "a@b.com")),
        ("at https://example.com/a_(b)/c?x=1&y=2.", ("URL", "https://example.com/a_(b)/c?x=1&y=2")),
        ("a [link](https://x.yz/path), and", ("URL", "https://x.yz/path")),
        ('<a href="http://q.example/r">', ("URL", "http://q.example/r")),
        ("www.example.com!", ("URL", "www.example.com")),
        ("on 2024-03-12T10:00:00Z,", ("DATE", "2024-03-12T10:00:00Z")),
        ("on 12 March 2024.", ("DATE", "12 March 2024")),
        ("March 12, 2024", ("DATE", "March 12, 2024")),
        ("the 3rd of May 2021", ("DATE", "3rd of May 2021")),
        ("Mar. 5, 1999", ("DATE", "Mar. 5, 1999")),
        ("in June 2020", ("DATE", "June 2020")),
        ("am 12.03.2024", ("DATE", "12.03.2024")),
        ("$12.50,", ("MONEY", "$12.50")),
        ("worth $3.5 million today", ("MONEY", "$3.5 million")),
        ("EUR 1,000.00", ("MONEY", "EUR 1,000.00")),
        ("12,50 €", ("MONEY", "12,50 €")),
        ("5 million dollars", ("MONEY", "5 million dollars")),
        ("since v1.2", ("VERSION", "v1.2")),
        ("1.2.3-beta.1+build5", ("VERSION", "1.2.3-beta.1+build5")),
        ("2.0.0rc1", ("VERSION", "2.0.0rc1")),
        ("in version 2.1.", ("VERSION", "2.1")),
        ("550e8400-e29b-41d4-a716-446655440000", ("IDENTIFIER", "550e8400-e29b-41d4-a716-446655440000")),
        ("doi:10.1000/xyz123.", ("IDENTIFIER", "doi:10.1000/xyz123")),
        ("CVE-2021-44228", ("IDENTIFIER", "CVE-2021-44228")),
        ("ISBN 978-3-16-148410-0", ("IDENTIFIER", "978-3-16-148410-0")),
        ("ISSN 0378-5955", ("IDENTIFIER", "0378-5955")),
        ("fixes ABC-123;", ("IDENTIFIER", "ABC-123")),
        ("host 10.0.0.1:", ("IP", "10.0.0.1")),
        ("fe80::1", ("IP", "fe80::1")),
        ("call +49 30 1234567", ("PHONE", "+49 30 1234567")),
        ("or 212-555-0123.", ("PHONE", "212-555-0123")),
    ],
)
def test_finds_each_form(patterns, text, expected):
    assert _found(patterns, text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        *("2024-13-45", "may 12 people come", "3.14", "12:30", "2010-2012", "1234-5678", "978-3-16-148410-1"),
        *("UTF-8 and SHA-256 and COVID-19", "user@localhost", "in 1999", "999.1.1.1.1", "a::b is Rust", "1 2 3"),
    ],
)
def test_leaves_alone_what_only_looks_alike(patterns, text):
    assert _found(patterns, text) == []


def test_an_identifier_says_its_scheme(patterns):
    (entity,) = asyncio.run(patterns.extract("see CVE-2021-44228")).entities
    assert entity.metadata == {"scheme": "cve"}


def test_further_patterns_and_chosen_types():
    plugin = PatternsExtractor(
        {"types": ["EMAIL"], "patterns": [{"label": "part", "pattern": "flux capacitor"}]},
    )
    assert _found(plugin, "a flux capacitor from doc@hill.example for $5") == [
        ("PART", "flux capacitor"),
        ("EMAIL", "doc@hill.example"),
    ]


def test_an_unusable_pattern_is_named():
    plugin = PatternsExtractor({"patterns": [{"label": "X", "pattern": [{"NO_SUCH_RULE": 1}]}]})
    with pytest.raises(PluginConfigError, match="NO_SUCH_RULE"):
        asyncio.run(plugin.initialize())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=12), st.sampled_from(["a@b.example", "$5", "12 May 2020", "(", "](", ", ", "\ud83d"])
        ),
        max_size=20,
    ).map("".join)
)
def test_offsets_are_exact_in_any_text(patterns, text):
    for entity in asyncio.run(patterns.extract(text)).entities:
        assert text[entity.start : entity.end] == entity.text != ""
