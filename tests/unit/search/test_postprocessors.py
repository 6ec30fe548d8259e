"""The built-in postprocessors against what they mean, said in the plainest way."""

from __future__ import annotations

import asyncio
import inspect
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.postprocessors import word_keys
from semantik_pipeline.builtin.postprocessors.dedupe import DedupePostprocessor
from semantik_pipeline.builtin.postprocessors.diversity import DiversityPostprocessor
from semantik_pipeline.builtin.postprocessors.group import GroupPostprocessor
from semantik_pipeline.builtin.postprocessors.highlight import HighlightPostprocessor
from semantik_pipeline.builtin.postprocessors.neighbours import NeighboursPostprocessor
from semantik_pipeline.builtin.postprocessors.passages import best_passage, sentences_of
from semantik_pipeline.builtin.postprocessors.phrases import Phrases
from semantik_pipeline.builtin.postprocessors.word_keys import Vocabulary, keys_of, pieces_of, words_of
from semantik_pipeline.builtin.stores.bm25 import Bm25Vectors
from semantik_pipeline.contracts import QueryText
from semantik_pipeline.contracts.document_scores import document_score
from semantik_pipeline.documents import Highlight, Passage, Span
from semantik_pipeline.testing.postprocessing import FakeContext, make_hit


def work(plugin, hits, *, query="", context=None, phrases=()):
    async def life():
        await plugin.initialize()
        after = plugin.process(QueryText(query, phrases=phrases), list(hits), context or FakeContext())
        return await after if inspect.isawaitable(after) else after

    return asyncio.run(life())


def ranks(hits):
    return [hit.rank for hit in hits]


# -- group -----------------------------------------------------------------------------------------------------------

LETTERS = st.sampled_from("abcdef")


@given(st.lists(LETTERS, max_size=30), st.integers(1, 4))
def test_a_group_is_the_best_hit_of_its_document_and_those_that_follow(documents, k):
    hits = [make_hit(rank, "text", document=name) for rank, name in enumerate(documents, 1)]
    grouped = work(GroupPostprocessor({"k": k, "score": "best"}), hits)
    order = list(dict.fromkeys(documents))
    assert [hit.document for hit in grouped] == order
    for hit in grouped:
        mine = [rank for rank, name in enumerate(documents, 1) if name == hit.document]
        assert ranks([hit, *hit.grouped_hits]) == mine[:k]


@given(st.lists(st.tuples(LETTERS, st.floats(0, 1)), max_size=30), st.integers(1, 4))
def test_a_documents_score_is_made_of_all_its_hits(pairs, k):
    pairs = sorted(pairs, key=lambda pair: -pair[1])
    hits = [make_hit(rank, "text", document=name, score=score) for rank, (name, score) in enumerate(pairs, 1)]
    grouped = work(GroupPostprocessor({"k": k}), hits)
    wanted = {name: document_score(score for other, score in pairs if other == name) for name, _ in pairs}
    assert {hit.document: hit.score for hit in grouped} == wanted
    assert [hit.score for hit in grouped] == sorted(wanted.values(), reverse=True)
    for hit in grouped:
        assert ranks([hit, *hit.grouped_hits]) == [one.rank for one in hits if one.document == hit.document][:k]


@settings(deadline=None)
@given(st.lists(LETTERS, max_size=260), st.integers(200, 260), st.sampled_from(["best", "several"]))
def test_groups_of_a_longer_list_begin_with_those_of_a_shorter_one(documents, cut, score):
    hits = [make_hit(rank, "text", document=name) for rank, name in enumerate(documents, 1)]
    longer, shorter = (work(GroupPostprocessor({"score": score}), some) for some in (hits, hits[:cut]))
    assert ranks(longer)[: len(shorter)] == ranks(shorter)


def test_several_good_passages_are_better_than_one_that_is_hardly_better():
    hits = [
        make_hit(1, "a", document="one", score=0.8),
        *(make_hit(n, "b", document="two", score=0.75) for n in (2, 3)),
    ]
    assert [hit.document for hit in work(GroupPostprocessor(), hits)] == ["two", "one"]


def test_the_same_name_in_two_sources_is_two_documents():
    hits = [make_hit(rank, "text", document="readme", source=source) for rank, source in enumerate("aab", 1)]
    assert ranks(work(GroupPostprocessor(), hits)) == [1, 3]


# -- diversity -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 14), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]))
def test_diversity_is_greedy_maximal_marginal_relevance(seed, count, balance):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = np.sort(random.uniform(size=count))[::-1].round(3).tolist()
    hits = [make_hit(place + 1, f"text {place}", score=score) for place, score in enumerate(scores)]
    context = FakeContext(vectors={f"text {place}": 3 * vector for place, vector in enumerate(vectors)})
    moved = work(DiversityPostprocessor({"lambda": balance}), hits, context=context)
    taken = [rank - 1 for rank in ranks(moved)]
    assert sorted(taken) == list(range(count))
    for place in range(count):  # of two that are worth the same either may come first
        rest = worth_now(scores, vectors, balance, taken[:place])
        assert rest[taken[place]] == pytest.approx(max(rest.values()), abs=1e-5)
    if balance == 1.0:
        assert taken == sorted(range(count), key=lambda place: -scores[place])


def worth_now(scores, vectors, balance, taken):
    """What each one that is left is worth now."""
    return {
        place: balance * scores[place]
        - (1 - balance) * max((float(vectors[place] @ vectors[other]) for other in taken), default=0.0)
        for place in range(len(scores))
        if place not in taken
    }


def test_hits_beyond_the_pool_stay_where_they_are():
    hits = [make_hit(rank, f"text {rank % 7}") for rank in range(1, 231)]
    moved = work(DiversityPostprocessor({"lambda": 0.2}), hits)
    assert ranks(moved)[200:] == list(range(201, 231))
    assert sorted(ranks(moved)[:200]) == list(range(1, 201))
    assert ranks(work(DiversityPostprocessor({"lambda": 0.2}), hits[:200])) == ranks(moved)[:200]


def test_without_any_vector_nothing_can_be_compared():
    with pytest.raises(Exception, match="no vectors"):
        work(DiversityPostprocessor(), [make_hit(1, "a")], context=FakeContext(vectors={}))


# -- dedupe ----------------------------------------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["the", "price", "of", "wine", "rose", "7", "8", "Wine"]), max_size=12)


def near(one, other, threshold):
    """Nearly the same, said in the plainest way."""

    def runs(text):
        words = text.casefold().split()
        return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}

    numbers = [re.findall(r"\d+", text) for text in (one, other)]
    mine, theirs = runs(one), runs(other)
    return numbers[0] == numbers[1] and len(mine & theirs) / len(mine | theirs) >= threshold - 1e-12


@settings(deadline=None, max_examples=300)
@given(st.lists(WORDS, max_size=10), st.sampled_from([0.3, 0.5, 0.75, 0.9, 1.0]))
def test_no_two_kept_are_nearly_the_same_and_each_that_went_is_like_one_that_stayed(texts, threshold):
    hits = [make_hit(rank, " ".join(words)) for rank, words in enumerate(texts, 1)]
    kept = work(DedupePostprocessor({"threshold": threshold}), hits)
    wanted = []
    for hit in hits:
        if not any(near(hit.text, other.text, threshold) for other in wanted):
            wanted.append(hit)
    assert ranks(kept) == ranks(wanted)
    named = {name for hit in kept for name in hit.duplicates}
    assert named == {hit.document for hit in hits} - {hit.document for hit in kept}


def test_what_differs_in_a_number_alone_is_not_the_same():
    text = (
        "The price of a room in the old house by the lake is {} a night, breakfast and boat included, all year round."
    )
    hits = [make_hit(rank, text.format(price)) for rank, price in enumerate((90, 95, 90), 1)]
    kept = work(DedupePostprocessor({"threshold": 0.5}), hits)
    assert [(hit.rank, hit.duplicates) for hit in kept] == [(1, ["doc-3"]), (2, [])]


@pytest.mark.parametrize(
    ("text", "more", "other"),
    [
        (
            "租约到期后其他工作者可以继续处理该文档并且保存结果。队列只传递阶段的名称而从不传递文档或者文本。"
            "账本说明哪些文档存在以及它们处于哪个阶段由谁持有。",
            "已",
            "发动机燃烧从油箱中泵出的煤油。齐柏林飞艇的气囊里装着氢气或者氦气。",
        ),
        (
            "リースが終わると他のワーカーが文書を処理できます。キューは段階の名前だけを運び、文書は運びません。"
            "台帳はどの文書がどの段階にあり、いま誰がそれを持っているかをいつでも示します。",
            "も",
            "エンジンはタンクから送られる灯油を燃やします。飛行船の中には水素かヘリウムが入っています。",
        ),
        (
            "เมื่อสัญญาเช่าสิ้นสุดลงผู้ทำงานคนอื่นสามารถทำเอกสารต่อได้ คิวส่งเพียงชื่อของขั้นตอนและไม่เคยส่งเอกสารหรือข้อความ",
            "ๆ",
            "เครื่องยนต์เผาไหม้น้ำมันก๊าดที่ปั๊มนำมาจากถังและเรือเหาะบรรจุก๊าซไฮโดรเจนหรือฮีเลียม",
        ),
    ],
    ids=["zh", "ja", "th"],
)
def test_scripts_without_spaces_are_compared_by_their_characters(text, more, other):
    half = len(text) // 2
    hits = [make_hit(rank, one) for rank, one in enumerate((text, other, text[:half] + more + text[half:]), 1)]
    kept = work(DedupePostprocessor(), hits)
    assert [(hit.rank, hit.duplicates) for hit in kept] == [(1, ["doc-3"]), (2, [])]


def test_the_same_text_again_in_its_own_document_is_in_no_other():
    hits = [make_hit(rank, "the same words again", document="one") for rank in (1, 2)]
    assert [(hit.rank, hit.duplicates) for hit in work(DedupePostprocessor(), hits)] == [(1, [])]


# -- highlight -------------------------------------------------------------------------------------------------------


def marked(text, query, language="en", phrases=()):
    (hit,) = work(HighlightPostprocessor(), [make_hit(1, text, language=language)], query=query, phrases=phrases)
    return [(text[one.start : one.end], one.term) for one in hit.highlights]


@pytest.mark.parametrize(
    ("query", "text", "language", "found"),
    [
        ("when do leases expire", "A lease expired, when the leaser left.", "en", ["lease", "expired"]),
        ("Häuser am Bodensee", "Das Haus am BODENSEE. Die Häuser.", "de", ["Haus", "BODENSEE", "Häuser"]),
        ("les élèves", "Une élève et deux ELEVES, les autres", "fr", ["élève", "ELEVES"]),
        ("cafe", "Café, cafés, cafe\u0301 and caffeine", "en", ["Café", "cafés", "cafe\u0301"]),
        ("to be or not to be", "or be not", "en", ["or", "be", "not"]),
        ("max tokens", "set max_tokens=3 (MAX)", "en", ["max", "tokens", "MAX"]),
        ("図書館の場所", "市立図書館は駅前。場所", "ja", ["図書館", "場所"]),
        ("GPUの設定", "GPUを設定する", "ja", ["GPU", "設定"]),
        ("हिन्दी भाषा", "यह हिन्दी भाषा है", "hi", ["हिन्दी", "भाषा"]),
        ("книги", "Книга лежит", "ru", ["Книга"]),
        ("lease", "nothing of it here", "en", []),
        ("", "anything", "en", []),
        ("?! *", "anything", "en", []),
        ("2.13", "version 2.13.0 of 13", "en", ["2", "13", "13"]),
        ("word", "a\x00word", "en", ["word"]),
        ("naïve", "NAIVE naïveté", "en", ["NAIVE"]),
        ("running", "runs", "xx", []),
        ("running", "runs", None, ["runs"]),
    ],
)
def test_words_are_met_in_every_form_of_theirs(query, text, language, found):
    assert [shown for shown, _ in marked(text, query, language)] == found


def test_a_phrase_is_one_place():
    text = "The art of state, state of the art; a state, of the art."
    assert marked(text, "state of the art", phrases=("state of the art",)) == [
        ("art", "art"),
        ("state", "state"),
        ("state of the art", "state of the art"),
        ("state, of the art", "state of the art"),
    ]


def test_the_keys_of_a_word_are_made_once_however_many_phrases_begin_with_it(monkeypatch):
    made = []
    plain = word_keys.without_diacritics
    monkeypatch.setattr(word_keys, "without_diacritics", lambda word: made.append(word) or plain(word))
    phrases = [" ".join(["word"] * length) for length in range(60, 80)]
    text = " ".join(["word"] * 300)
    hits = [make_hit(rank, text, language="en") for rank in range(1, 11)]
    shown = work(HighlightPostprocessor(), hits, query="word", phrases=phrases)
    counted = [len(text[one.start : one.end].split()) for one in shown[0].highlights]
    assert counted == [79, 79, 79, 63], "the longest phrase as often as it has room, and one that fits what is left"
    assert len(made) < 10


RUNS = st.lists(st.sampled_from(["the", "lease", "leases", "Worker", "worker", "café"]), max_size=8)


@settings(deadline=None)
@given(st.lists(RUNS, max_size=5), RUNS.flatmap(lambda words: RUNS.map(lambda more: words + more)))
def test_phrases_are_met_where_all_their_words_stand_one_after_the_other(phrases, words):
    def keys(word):
        return keys_of(word, "english") | word_keys.literal_keys(word)

    text = ", ".join(words)
    starts = [one.start() for one in words_of(text)]
    wanted = [
        (starts[at], starts[at + len(phrase) - 1] + len(words[at + len(phrase) - 1]), " ".join(phrase))
        for phrase in phrases
        for at in range(len(words) - len(phrase) + 1)
        if len(phrase) > 1 and all(keys(a) & keys(b) for a, b in zip(phrase, words[at:], strict=False))
    ]
    found = Phrases([" ".join(phrase) for phrase in phrases], "english").matches(text)
    assert sorted((one.start, one.end, one.term) for one in found) == sorted(wanted)


ENGLISH = st.sampled_from(
    [
        "lease",
        "leases",
        "leased",
        "expire",
        "expires",
        "the",
        "of",
        "Worker",
        "workers'",
        "run",
        "running",
        "café",
        "cafe",
        "naïve",
        "x1",
        "7",
        "a_b",
        "—",
        "don't",
    ]
)


@settings(deadline=None, max_examples=150)
@given(st.lists(ENGLISH, max_size=5), st.lists(ENGLISH | st.text(max_size=4), max_size=25))
def test_marks_are_the_words_that_the_engine_takes_for_the_same(query, words):
    bm25 = Bm25Vectors({"language": "english", "by_document": True, "fold_accents": True})
    text = " ".join(words)
    (hit,) = work(HighlightPostprocessor(), [make_hit(1, text, language="en")], query=" ".join(query))
    places = [(one.start, one.end) for one in hit.highlights]
    assert places == sorted(places)
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert all(one[1] <= other[0] for one, other in pairwise(places))
    asked = set(bm25.query(" ".join(query).lower()))
    if not asked:
        return  # stop words alone, which are then met as they stand
    shown = {text[start:end] for start, end in places}
    for word in re.findall(r"[A-Za-z0-9]+", text) if text.isascii() else ():
        same = not asked.isdisjoint(bm25.query(word.lower()))
        assert (word in shown) == same, word


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=300))
def test_marks_lie_in_any_text(query, text):
    (hit,) = work(HighlightPostprocessor({"length": 40}), [make_hit(1, text)], query=query, phrases=(query,))
    for one in hit.highlights:
        assert 0 <= one.start < one.end <= len(text)
        assert text[one.start : one.end].strip()
    if hit.passage is not None:
        assert 0 <= hit.passage.start < hit.passage.end <= len(text)
        assert hit.highlights


# -- the best passage ------------------------------------------------------------------------------------------------

SENTENCES = st.lists(
    st.lists(st.sampled_from(["wine", "cork", "acre", "of", "and"]), min_size=1, max_size=6), min_size=1, max_size=8
)


@given(SENTENCES, st.integers(20, 80))
def test_the_best_passage_has_the_most_terms_of_all_runs_of_sentences_that_fit(sentences, length):
    text = " ".join(f"{' '.join(words)}." for words in sentences)
    matches = [Highlight(one.start(), one.end(), one.group()) for one in re.finditer("wine|cork|acre", text)]
    found = best_passage(text, matches, length)
    if not matches:
        assert found is None
        return
    assert found.end - found.start <= max(length, max(span.end - span.start for span in sentences_of(text)))

    def worth(start, end):
        return len({one.term for one in matches if start <= one.start and one.end <= end})

    spans = sentences_of(text)
    fitting = [
        worth(spans[first].start, spans[last].end)
        for first in range(len(spans))
        for last in range(first, len(spans))
        if spans[last].end - spans[first].start <= length
    ]
    assert worth(found.start, found.end) >= max(fitting, default=0)


def plainly_best(text, matches, length):
    """The same by looking at every match for every window."""

    def inside(window):
        return [one for one in matches if window.start <= one.start and one.end <= window.end]

    def worth(window):
        return len({one.term for one in inside(window)}), len(inside(window))

    sentences = sentences_of(text)
    best, most = None, (0, 0)
    for first, begin in enumerate(sentences):
        fitting = [one.end for one in sentences[first:] if one.end - begin.start <= length]
        if not fitting:
            return None  # it is cut
        window = Span(begin.start, fitting[-1])
        if worth(window) > most:
            best, most = window, worth(window)
    return best


@given(SENTENCES, st.integers(36, 120))
def test_the_best_passage_is_the_one_that_looking_at_everything_finds(sentences, length):
    text = " ".join(f"{' '.join(words)}." for words in sentences)
    matches = [Highlight(one.start(), one.end(), one.group()) for one in re.finditer("wine|cork|acre", text)]
    if len(text) > length:
        assert best_passage(text, matches, length) == plainly_best(text, matches, length)


@given(
    st.text(
        st.one_of(st.characters(), st.sampled_from("ab_ 1é\u0301\u0903\u0915\u0e01\u0e31\u0e47漢かк-'’")), max_size=40
    )
)
def test_the_pieces_of_a_text_have_its_words(text):
    words = {word.group() for word in words_of(text)}
    asked = set()
    vocabulary = Vocabulary(lambda word: asked.add(word) or frozenset((word,)))
    for _ in range(2):  # pieces that are known have the same words
        assert vocabulary.meeting(pieces_of(text), {word: word.upper() for word in words}) == {
            word: word.upper() for word in words
        }
    assert asked == words


WORDS = st.sets(
    st.sampled_from(["lease", "Leases", "leased", "house", "Häuser", "the", "wine", "wines", "acre", "été"])
)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=6), st.integers(0, 9))
def test_a_vocabulary_knows_whatever_it_met_before_which_words_meet_a_term(asked, most):
    remembered = Vocabulary(lambda word: keys_of(word, "english"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_keys, "MOST_WORDS", most)
        for words, terms in asked:
            by_key = {key: term for term in sorted(terms) for key in keys_of(term, "english")}
            met = {word for word in words if keys_of(word, "english") & by_key.keys()}
            found = remembered.meeting(words, by_key)
            assert found.keys() == met
            assert all(keys_of(term, "english") & keys_of(word, "english") for word, term in found.items())


def test_a_vocabulary_keeps_no_long_words_and_knows_them_all_the_same():
    asked = []
    remembered = Vocabulary(lambda word: asked.append(word) or keys_of(word, "english"))
    longest, longer = "x" * word_keys.LONGEST_WORD, "y" * (word_keys.LONGEST_WORD + 1)
    terms = {key: term for term in (longest, longer) for key in keys_of(term, "english")}
    for _ in range(2):
        assert remembered.meeting({longest, longer, "other"}, terms) == {longest: longest, longer: longer}
    assert sorted(asked) == ["other", longest, longer, longer], "what it keeps it asks for once"


def test_a_long_sentence_is_cut_between_words_around_its_terms():
    text = "nothing " * 60 + "wine in a cork " + "nothing " * 60
    matches = [Highlight(one.start(), one.end(), one.group()) for one in re.finditer("wine|cork", text)]
    found = best_passage(text, matches, 60)
    shown = text[found.start : found.end]
    assert "wine in a cork" in shown
    assert len(shown) <= 60
    assert set(shown.split()) <= {"nothing", "wine", "in", "a", "cork"}


# -- neighbours ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 4), st.sampled_from(["A", "B"])), min_size=1, max_size=9),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
    st.data(),
)
def test_what_is_before_the_hit_and_what_is_after_read_on(pieces, before, after, section, data):
    """Chunks of these lengths, each reaching back into the one before by so many characters."""
    document = "".join(chr(97 + at % 26) for at in range(200))
    chunks, end = [], 0
    for ordinal, (length, overlap, heading) in enumerate(pieces):
        start = max(0, end - overlap) if chunks else 0
        end = max(end, start) + length
        chunks.append(Passage(document[start:end], start, end, ordinal, [heading]))
    mine = data.draw(st.sampled_from(chunks))
    hit = make_hit(1, mine.text, document="d", start=mine.start, ordinal=mine.ordinal, section=mine.section)
    plugin = NeighboursPostprocessor({"before": before, "after": after, "section": section})
    (found,) = work(plugin, [hit], context=FakeContext({"d": chunks}))
    whole = (
        "".join(one.text for one in found.context_before)
        + found.text
        + "".join(one.text for one in found.context_after)
    )
    begin = found.context_before[0].start if found.context_before else found.start
    assert whole == document[begin : begin + len(whole)]
    near_before = [one.ordinal for one in found.context_before]
    assert all(mine.ordinal - one <= before or section for one in near_before)
    reached = begin if found.context_before else mine.start
    assert reached <= min((one.start for one in chunks if 0 < mine.ordinal - one.ordinal <= before), default=reached)
    if section:
        alike = mine.ordinal
        while alike > 0 and chunks[alike - 1].section == mine.section:
            alike -= 1
        assert begin <= chunks[alike].start


def test_a_section_ends_where_another_begins_and_holds_its_subsections():
    names = [["A"], ["A", "x"], ["A"], ["A", "y"], ["B"], ["A"]]
    chunks = [Passage(f"{n}", n, n + 1, n, name) for n, name in enumerate(names)]
    hit = make_hit(1, "2", document="d", start=2, ordinal=2, section=["A"])
    plugin = NeighboursPostprocessor({"before": 0, "after": 0, "section": True})
    (found,) = work(plugin, [hit], context=FakeContext({"d": chunks}))
    assert ([one.text for one in found.context_before], [one.text for one in found.context_after]) == (
        ["0", "1"],
        ["3"],
    )


def test_what_is_above_the_first_heading_is_a_section_too():
    names = [[], [], ["A"], ["B"], []]
    chunks = [Passage(f"{n}", n, n + 1, n, name) for n, name in enumerate(names)]
    hit = make_hit(1, "0", document="d", start=0, ordinal=0)
    plugin = NeighboursPostprocessor({"before": 0, "after": 0, "section": True})
    (found,) = work(plugin, [hit], context=FakeContext({"d": chunks}))
    assert ([one.text for one in found.context_before], [one.text for one in found.context_after]) == ([], ["1"])


def test_all_hits_are_asked_about_at_once():
    context = FakeContext()
    work(NeighboursPostprocessor(), [make_hit(rank, "text") for rank in range(1, 9)], context=context)
    work(DiversityPostprocessor(), [make_hit(rank, "text") for rank in range(1, 9)], context=context)
    assert context.asked == ["around", "vectors"]


def test_the_other_hits_of_a_group_have_neighbours_too():
    chunks = [Passage(text=f"part {n}", start=10 * n, end=10 * n + 6, ordinal=n, section=[]) for n in range(6)]
    hits = [make_hit(rank, f"part {n}", document="a", start=10 * n, ordinal=n) for rank, n in enumerate((1, 4), 1)]
    grouped = work(GroupPostprocessor({"k": 2}), hits)
    (hit,) = work(NeighboursPostprocessor(), grouped, context=FakeContext({"a": chunks}))
    assert [[one.text for one in (*each.context_before, *each.context_after)] for each in (hit, *hit.grouped_hits)] == [
        ["part 0", "part 2"],
        ["part 3", "part 5"],
    ]
