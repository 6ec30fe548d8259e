"""HTML by the parser `unstructured`: what a reader of the page sees is in the text, wherever it stands."""

from __future__ import annotations

import pytest

from semantik_pipeline.builtin.parsers.unstructured import UnstructuredParser
from semantik_pipeline.errors import SkipDocument
from semantik_pipeline.testing.parsers import check_parsed


def parse(page: str) -> list[tuple[str, str]]:
    parsed = UnstructuredParser().parse(f"<html><body>{page}</body></html>".encode(), file_path="a.html")
    check_parsed(parsed)
    return [(one.kind, parsed.text[one.start : one.end]) for one in parsed.elements]


def texts(page: str) -> list[str]:
    return [text for _, text in parse(page)]


def test_a_page_within_one_form():
    page = "<form id='aspnetForm'><h1>Opening hours</h1><p>We open at nine.</p></form><p>Imprint</p>"
    assert parse(page) == [("heading", "Opening hours"), ("paragraph", "We open at nine."), ("paragraph", "Imprint")]


def test_figures_with_tables_code_and_captions():
    table = "<table><tr><td>apple</td><td>3</td></tr></table>"
    page = f"<figure class='wp-block-table'>{table}<figcaption>Prices</figcaption></figure>"
    assert parse(page) == [("table", "apple | 3"), ("paragraph", "Prices")]
    assert parse("<figure><pre><code>a = 1\nb = 2</code></pre></figure>") == [("code", "a = 1\nb = 2")]
    page = "<p>Before it.</p><figure><img src='x.png'><figcaption>What it shows</figcaption></figure><p>After it.</p>"
    assert texts(page) == ["Before it.", "What it shows", "After it."]


def test_questions_and_their_answers():
    assert texts("<details><summary>How much?</summary><p>It is free.</p></details>") == ["How much?", "It is free."]
    accordion = "<h2><button aria-expanded='false'>How much?</button></h2><div>It is free.</div>"
    assert parse(accordion) == [("heading", "How much?"), ("paragraph", "It is free.")]
    assert texts("<ul><li><details><summary>One</summary>The first.</details></li><li>Two</li></ul>") == [
        "One", "The first.", "Two",
    ]  # fmt: skip


def test_labels_stay_in_their_sentence_and_dialogs_and_text_areas_are_read():
    assert texts("<p>The <label for='x'>name of it</label> is long.</p>") == ["The name of it is long."]
    assert texts("<dialog open><p>Read this first.</p></dialog>") == ["Read this first."]
    assert parse("<p>The source:</p><textarea readonly>== Title ==\nText</textarea>") == [
        ("paragraph", "The source:"),
        ("code", "== Title ==\nText"),
    ]


@pytest.mark.parametrize(
    "table",
    [
        "<table><form><tr><td>apple</td><td>3</td></tr></form></table>",
        "<table><tr><form><td>apple</td><td>3</td></form></tr></table>",
        "<table><tbody><form><tr><td><label>apple</label></td><td><form>3</form></td></tr></form></tbody></table>",
    ],
)
def test_forms_between_the_parts_of_a_table(table):
    assert parse(f"<p>Prices:</p>{table}") == [("paragraph", "Prices:"), ("table", "apple | 3")]


def test_what_nobody_sees_stays_out():
    hidden = "<nav>Menu of the site</nav><template>Draft</template><select><option>Choice</option></select>"
    assert texts(f"<p>Seen by all.</p>{hidden}<button>Send it</button><script>var x</script>") == ["Seen by all."]


@pytest.mark.parametrize("page", ["", "<!-- a comment -->", "<p> </p>"])
def test_nothing_to_see(page):
    for content in (page, f"<html>{page}</html>"):
        with pytest.raises(SkipDocument, match="no text"):
            UnstructuredParser().parse(content.encode(), file_path="a.html", media_type="text/html")


def test_characters_survive_the_way():
    assert texts("<p>1 &lt; 2 &amp;&amp; &quot;a&quot; &euro;&nbsp;5 Größe 文</p>") == ['1 < 2 && "a" € 5 Größe 文']
    assert texts("<pre>\n  if a &lt; b:\n\n    c()</pre>") == ["if a < b:\n\n    c()"]


def test_figures_of_an_e_book(tmp_path):
    import pypandoc

    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    book, path = f"# Chapter\n\n![The caption]({tmp_path}/a.png)\n\nA paragraph.", tmp_path / "a.epub"
    pypandoc.convert_text(book, "epub", "markdown", outputfile=str(path), extra_args=["--metadata", "title=Book"])
    assert "The caption" in UnstructuredParser().parse(path.read_bytes(), file_path="a.epub").text.split("\n\n")
