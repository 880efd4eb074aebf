"""Leases: no image in two windows, and none lost in a window that is gone."""

from __future__ import annotations

import pytest

from labelsieve.review import leases as module
from labelsieve.review.leases import Leases


def test_a_window_holds_what_it_shows_and_others_see_it() -> None:
    leases = Leases()
    leases.take("a", [3])
    leases.take("a", [5, 6])
    leases.take("b", [7])
    assert leases.rows("a") == {7}
    assert leases.rows("b") == {5, 6}
    assert leases.rows("c") == {5, 6, 7}


def test_a_closed_window_gives_back_at_once_what_it_showed() -> None:
    leases = Leases()
    leases.take("a", [3, 4])
    leases.release("a", leases.ticket("a"))
    assert leases.rows("b") == set() and leases.ticket("a") == 0


def test_a_window_that_went_on_keeps_what_it_shows_now() -> None:
    """The page before says that it is closed after the next one was answered."""
    leases = Leases()
    leases.take("a", [3])
    before = leases.ticket("a")
    leases.take("a", [3])
    leases.release("a", before)
    leases.release("nobody", 1)
    assert leases.rows("b") == {3}


def test_a_window_without_a_sign_of_life_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    leases = Leases()
    leases.take("open", [1])
    leases.take("gone", [2])
    now = module.LEASE - 1
    leases.renew("open", leases.ticket("open"))
    leases.renew("gone", 999)  # of an earlier page
    assert leases.rows("c") == {1, 2}
    now = module.LEASE + 1
    assert leases.rows("c") == {1}


def test_a_name_stays_with_its_window() -> None:
    leases = Leases()
    leases.take("a", [1])
    leases.renew("a", leases.ticket("a"), "Ada")
    leases.take("a", [2])
    assert [(one.person, one.rows) for one in leases.others("b")] == [("Ada", {2})]
    leases.take("a", [3], "Grace")
    assert [one.person for one in leases.others("b")] == ["Grace"]
    assert leases.others("a") == []
