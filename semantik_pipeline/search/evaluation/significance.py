"""Is a difference more than luck: a paired randomisation test, and what many tests at once do to it. Pure.

If two ways of searching were alike, each query's two scores could change places. So the difference of the means is held
against those of all (or very many) exchanges: p is the share of them that differ at least as much. It asks nothing of how
the scores are distributed (Smucker, Allan and Carterette, CIKM 2007, compare it with the t-test and others on retrieval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Up to so many queries that differ, every exchange is looked at: 65,536 of them.
EXACT = 16
#: Exchanges that are drawn where there are more; p is a share of them, so it is good to about ±0.004 near 0.05.
DRAWN = 10_000
SEED = 20070


def paired_p(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The two-sided p of the difference of two means over the same queries, in (0, 1]; 1 for none that differ.

    The same values give the same p. Raises ValueError if the lengths differ.
    """
    import numpy as np

    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} scores are paired with {len(theirs)}.")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    differences = differences[np.abs(differences) > 1e-12]  # whose exchange changes nothing
    if not len(differences):
        return 1.0
    least = (
        abs(differences.sum()) - 1e-9 * np.abs(differences).sum()
    )  # sums of the same values differ in their last bits
    if len(differences) <= EXACT:
        numbers = np.arange(2 ** len(differences))[:, None]
        signs = 1.0 - 2.0 * ((numbers >> np.arange(len(differences))) & 1)
        return float(np.mean(np.abs(signs @ differences) >= least))
    draws = np.random.default_rng(SEED)
    met = 0
    for _ in range(0, DRAWN, 1000):  # a thousand at a time: memory is bounded by the queries
        signs = 1.0 - 2.0 * draws.integers(0, 2, size=(1000, len(differences)), dtype=np.int8)
        met += int(np.count_nonzero(np.abs(signs @ differences) >= least))
    return (met + 1) / (DRAWN + 1)  # the exchange that was seen is one of them


def holm(ps: Mapping[str, float]) -> dict[str, float]:
    """The ps of several comparisons, adjusted (Holm 1979): with ten ways that are all alike, one has p ≤ 0.05 four times
    in ten. In the order that they came."""
    adjusted: dict[str, float] = {}
    least = 0.0
    for place, name in enumerate(sorted(ps, key=lambda name: ps[name])):
        least = max(least, min(1.0, ps[name] * (len(ps) - place)))
        adjusted[name] = least
    return {name: adjusted[name] for name in ps}
