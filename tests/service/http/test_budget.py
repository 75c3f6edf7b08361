from __future__ import annotations

import pytest

from service.http.budget import TOO_MUCH, Budget, Quota
from service.http.errors import Refused


def test_all_together_have_the_total_and_one_client_a_part_of_it() -> None:
    budget = Budget(100)
    assert budget.take("a", 75)
    assert not budget.take("a", 1)
    assert not budget.take("b", 26)
    assert budget.take("b", 25)
    assert not budget.take("c", 1)
    budget.give_back("a", 75)
    assert budget.in_use == 25
    assert budget.take("c", 75)


def test_what_is_refused_takes_nothing() -> None:
    budget = Budget(4)
    assert not budget.take(None, 4)
    assert budget.in_use == 0
    assert budget.take(None, 3)


def test_bodies_within_the_budget_are_held_and_one_too_many_is_refused() -> None:
    budget = Quota(100, TOO_MUCH)
    with budget.hold(60), budget.hold(40):
        with pytest.raises(Refused, match="too many long requests") as refused, budget.hold(1):
            pass
        assert refused.value.status == 429
        assert budget.in_use == 100
    assert budget.in_use == 0


def test_a_single_body_may_be_longer_than_the_budget() -> None:
    budget = Quota(100, TOO_MUCH)
    with budget.hold(101), pytest.raises(Refused), budget.hold(1):
        pass
    with pytest.raises(ZeroDivisionError), budget.hold(101):
        raise ZeroDivisionError
    assert budget.in_use == 0
