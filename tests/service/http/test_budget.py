from __future__ import annotations

from service.http.budget import Budget


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
