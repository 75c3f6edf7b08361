from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from stages import contract
from stages.contract import Contract, Histogram, Label, Target
from tests import small


@settings(max_examples=50)
@given(terms=small.contracts())
def test_what_is_written_is_what_is_read(
    terms: Contract, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "contract.json"
    contract.write(terms, path)
    again = contract.read(path)
    assert again == terms
    types = [type(label) for label in terms.target.classes]
    assert [type(label) for label in again.target.classes] == types


def test_histograms_survive_to_the_last_bit(tmp_path: Path) -> None:
    contract.write(small.fitted().terms, tmp_path / "contract.json")
    assert contract.read(tmp_path / "contract.json") == small.fitted().terms


@settings(max_examples=50)
@given(terms=small.contracts())
def test_a_code_is_the_place_among_the_categories(terms: Contract) -> None:
    for place, column in enumerate(terms.columns):
        codes = terms.codes.get(place, {})
        assert [column.categories[int(code)] for code in codes.values()] == list(codes)
        assert list(codes) == list(column.categories)


@pytest.mark.parametrize(
    ("classes", "keys"),
    [
        ((False, True), ("false", "true")),
        ((-1, 0, 2), ("-1", "0", "2")),
        (("no", 'say "yes"'), ("no", 'say "yes"')),
    ],
)
def test_a_class_is_the_key_that_json_makes_of_it(
    classes: tuple[Label, ...], keys: tuple[str, ...]
) -> None:
    assert Target(name="y", classes=classes).keys == keys


def test_a_label_is_no_fraction() -> None:
    with pytest.raises(ValidationError):
        Target.model_validate({"name": "y", "classes": [0.5, 1.5]})


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    content = json.loads(small.TERMS.model_dump_json())
    content["columns"][0]["nullable"] = True
    path.write_text(json.dumps(content))
    with pytest.raises(ValidationError, match="nullable"):
        contract.read(path)


def test_a_contract_never_changes() -> None:
    histogram = Histogram(edges=(), counts=(1, 2), missing=0)
    with pytest.raises(ValidationError, match="frozen"):
        histogram.missing = 1  # type: ignore[misc]
