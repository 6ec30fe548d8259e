"""What a principal may, and which documents it sees."""

from __future__ import annotations

import pytest

from semantik_pipeline.contracts import AuthRequest, Principal
from semantik_pipeline.errors import Forbidden, UsageError


def test_a_role_may_what_lower_ones_may_in_its_collections():
    writer = Principal("ci", "writer", collections=["a"])
    assert writer.may("reader", "a") and writer.may("writer", "a") and writer.may("reader")
    assert not writer.may("admin", "a") and not writer.may("reader", "b") and not writer.may("writer")
    with pytest.raises(Forbidden, match="the role admin, and ci is a writer"):
        writer.require("admin", "a")
    with pytest.raises(Forbidden, match="collection 'b'"):
        writer.require("writer", "b")
    with pytest.raises(Forbidden, match="limited to some"):
        writer.require("writer")
    boss = Principal("boss", "admin")
    boss.require("admin")
    boss.require("writer", "b")


def test_a_document_is_seen_by_those_whom_it_is_open_to():
    anna, nobody, everything = (Principal("p", principals=some) for some in (["anna"], [], None))
    assert [anna.sees(some) for some in (None, ["anna", "ben"], ["ben"], [])] == [True, True, False, False]
    assert [nobody.sees(some) for some in (None, ["anna"], [])] == [True, False, False]
    assert all(everything.sees(some) for some in (None, ["anna"], []))


def test_a_principal_that_makes_no_sense_is_refused():
    for values in ({"role": "boss"}, {"collections": "a"}, {"principals": "anna"}, {"principals": [""]}):
        with pytest.raises(UsageError):
            Principal("p", **values)


def test_headers_are_found_whatever_their_case_and_never_shown():
    request = AuthRequest("GET", "/", {"X-API-Key": "planted"})
    assert request.header("x-api-KEY") == "planted" == request.headers["x-api-key"]
    assert "planted" not in repr(request)
    with pytest.raises(TypeError):
        request.headers["x-api-key"] = "another"  # type: ignore[index]
