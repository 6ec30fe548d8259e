"""Renders a comparison as a self-contained HTML page with the plot and its figures. Pure."""

from __future__ import annotations

from html import escape

from semantik_pipeline.search.evaluation.comparison import Compared, Comparison
from semantik_pipeline.search.evaluation.recommendation import recommended

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
svg { width: 100%; height: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
.default { font-weight: bold } .better td:last-child { color: #006b4e } .worse td:last-child { color: #b34700 }
"""

HEADER = ("way", "nDCG@10", "Recall@100", "MRR@10", "p50, ms", "difference", "p", "")


def page(comparison: Comparison, title: str, svg: str) -> str:
    """Return the HTML page. ``svg`` is the plot, as an SVG element."""
    advice = recommended(comparison)
    sentences = [advice.reason, *advice.notes, *(f"Left out: {n} ({why})." for n, why in comparison.left_out.items())]
    rows = "\n".join(
        f'<tr class="{one.verdict}">{"".join(f"<td>{escape(cell)}</td>" for cell in _cells(one))}</tr>'
        for one in comparison.ways
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADER)
    told = "\n".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>{STYLE}</style>
<h1>{escape(title)}</h1>
{told}
{svg}
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p>p: a paired randomization test of nDCG@10 against the default, adjusted for the number of ways.</p>
</html>
"""


def _cells(one: Compared) -> list[str]:
    return [
        one.way.name,
        *(f"{one.mean(name):.4f}" for name in ("ndcg@10", "recall@100", "mrr@10")),
        "" if one.p50_ms is None else f"{one.p50_ms:,.1f}",
        "" if one.difference is None else f"{one.difference:+.4f}",
        "" if one.p_adjusted is None else f"{one.p_adjusted:.4f}",
        one.verdict,
    ]
