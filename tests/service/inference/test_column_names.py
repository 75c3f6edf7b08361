from __future__ import annotations

import pytest

from cairn.contract import Column, Contract, LeftOut, Target
from service.inference.column_names import MAX_COMPARED, MAX_SUGGESTED, Names

CONTRACT = Contract(
    columns=(
        Column(name="emp_var_rate", header="emp.var.rate", kind="number"),
        Column(name="x", kind="number", missing=True),
        Column(name="x_2", header="x", kind="number", missing=True),
        Column(name="age_y", header=" age (y) ", kind="number", missing=True),
        Column(name="column_5", header="年齢（歳）", kind="number", missing=True),
    ),
    identifier="id",
    identifier_header="Customer Id",
    left_out=(LeftOut(name="note", header="Note!", reason="free text"),),
    target=Target(name="y", header="Subscribed?", classes=(0, 1)),
)
NAMES = Names(CONTRACT)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("emp_var_rate", "emp_var_rate"), ("emp.var.rate", "emp_var_rate"),
        (" emp.var.rate\t", "emp_var_rate"), ("\ufeffemp.var.rate", "emp_var_rate"),
        ("x", "x"), ("x_2", "x_2"), ("x.1", "x_2"), (" age (y) ", "age_y"), ("age (y)", "age_y"),
        ("年齢（歳）", "column_5"), ("Customer Id", "id"), ("id", "id"), ("Note!", "note"),
        ("note", "note"), ("Subscribed?", "y"), ("y", "y"),
        ("Emp.Var.Rate", None), ("emp.var", None), ("", None), (" ", None), ("x\0", None),
    ],
)  # fmt: skip
def test_a_key_stands_for_a_name_or_for_none(key: str, name: str | None) -> None:
    assert NAMES.resolve(key) == name


def test_of_two_columns_with_one_header_that_is_the_first() -> None:
    columns = tuple(
        Column(name=name, header="a b", kind="number", missing=True) for name in ("a_b", "a_b_2")
    )
    contract = Contract(columns=columns, target=CONTRACT.target)
    names = Names(contract)
    assert names.resolve("a b") == "a_b"
    assert names.resolve("a b.1") == "a_b_2", "as pandas calls it"
    assert names.columns == ["a b", "a_b_2"], "no two are shown alike"
    assert contract.aliases == {"a b": "a_b", "a b.1": "a_b_2", "Subscribed?": "y"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("index", "Unnamed: 0"), ("index_2", "Unnamed: 0"), ("column_5", "Unnamed: 4"),
        ("column_5_2", "Unnamed: 4"), ("renamed", None),
    ],
)  # fmt: skip
def test_a_column_without_a_header_has_the_keys_of_pandas_and_of_a_csv_reader(
    name: str, key: str | None
) -> None:
    index = LeftOut(name=name, header="", reason="index")
    names = Names(CONTRACT.model_copy(update={"left_out": (index,)}))
    assert [names.resolve(each) for each in ("", name)] == [name, name]
    assert names.resolve("\ufeff") == name, "a byte-order mark before it"
    assert names.headers[name] == name, "what people see"
    assert key is None or names.resolve(key) == name
    assert names.resolve("Unnamed: 9") is None
    as_identifier = CONTRACT.model_copy(update={"identifier_header": "", "identifier": name})
    assert Names(as_identifier).map_keys([""]).positions == {name: 0}


def test_a_plan_orders_the_values_of_a_row() -> None:
    plan = NAMES.map_keys(["y", "age (y)", "Customer Id", "emp.var.rate", "Note!", "x"])
    assert plan.is_complete
    assert plan.positions == {"age_y": 1, "id": 2, "emp_var_rate": 3, "x": 5}
    assert plan.values([0, 1, 2, 3, 4, 5, None]) == (3, 5, None, 1, None)


def test_a_plan_says_what_is_wrong_with_the_keys() -> None:
    plan = NAMES.map_keys(["x", "colour", " x", "x_2"])
    assert not plan.is_complete
    assert (plan.unknown, plan.duplicates, plan.missing) == (
        ["colour"],
        {" x": "x"},
        ["emp_var_rate"],
    )


@pytest.mark.parametrize("key", ["", " ", "Unnamed: 0", "Unnamed: 12"])
def test_a_key_without_a_header_that_the_contract_does_not_have_is_ignored(key: str) -> None:
    plan = NAMES.map_keys([key, "emp_var_rate"])
    assert plan.is_complete
    assert plan.positions == {"emp_var_rate": 1}
    for other in ("Unnamed", "Unnamed: x", "unnamed: 0", "_"):
        assert NAMES.map_keys([other, "emp_var_rate"]).unknown == [other]


@pytest.mark.parametrize(
    ("key", "close"),
    [
        ("EMP VAR RATE", "emp.var.rate"), ("empVarRate", "emp.var.rate"),
        ("emp.var.rat", "emp.var.rate"), ("customer_id", "Customer Id"),
        ("subscribe", "Subscribed?"), ("colour", None), ("", None), ("!", None),
    ],
)  # fmt: skip
def test_an_unknown_key_may_be_like_a_header(key: str, close: str | None) -> None:
    assert NAMES.make_suggest()(key) == close


def test_few_unknown_keys_are_compared_and_each_once() -> None:
    suggest = NAMES.make_suggest()
    assert [suggest(f"{index}") for index in range(MAX_SUGGESTED)] == [None] * MAX_SUGGESTED
    assert suggest("emp.var.rat") is None
    assert suggest("Emp-Var-Rate") == "emp.var.rate"  # is looked up


def test_a_wide_contract_is_compared_in_part() -> None:
    columns = tuple(
        Column(name=f"column_{index}", kind="number", missing=True) for index in range(5000)
    )
    suggest = Names(Contract(columns=columns, target=CONTRACT.target)).make_suggest()
    assert suggest("Column 4999") == "column_4999"
    assert suggest(f"column_{MAX_COMPARED - 1}x") == f"column_{MAX_COMPARED - 1}"
    assert suggest("colunm_4999") != "column_4999"
