"""The model for people: the fitted Pipeline behind the contract, for a DataFrame of the table.

`data/model/pipeline.joblib` holds it. Load it from the top of the repository, where Python finds
`stages`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline

from cairn import formats, inference
from cairn.console import CairnError
from cairn.contract import LARGEST, NUMBERS, Category, Column, Contract
from cairn.inference import Predictions
from cairn.tables import header
from cairn.tables.missing import rule_of
from cairn.transform import Engineering, to_features

BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
SECOND = re.compile(r"(.+)\.\d+")
SHOWN = 3  # wrong values of a column

Floats = NDArray[np.float32]


class FramePipeline(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Answers rows of the table, as pandas holds them, with the labels of the table.

    Parameters
    ----------
    contract
        What a row is, what the labels are, and from which probability one is predicted.
    pipeline
        Fitted to the features of such rows: n × k float32.
    engineering
        The user's own features.

    Attributes
    ----------
    classes_
        The labels, in the order of the probabilities.
    feature_names_in_
        The columns that it needs, under the contract's names.
    """

    def __init__(self, contract: Contract, pipeline: Pipeline, engineering: Engineering) -> None:
        self.contract = contract
        self.pipeline = pipeline
        self.engineering = engineering

    def __getstate__(self) -> dict[str, Any]:
        """The contract as text: pickled as it is, its bytes would tell what was asked of it."""
        text = self.contract.model_dump_json(exclude_none=True)
        return {"contract": text, "pipeline": self.pipeline, "engineering": self.engineering}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read the contract again."""
        self.contract = Contract.model_validate_json(state["contract"])
        self.pipeline = state["pipeline"]
        self.engineering = state["engineering"]

    def __sklearn_is_fitted__(self) -> bool:
        """It is never anything else."""
        return True

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels, in the order of the probabilities."""
        return np.array(self.contract.target.classes)

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """The columns that it needs."""
        return np.array(self.contract.names, dtype=object)

    def predict_proba(self, X: Any) -> NDArray[np.floating[Any]]:  # noqa: N803 - scikit-learn's name
        """The probabilities of n rows, n × classes.

        Parameters
        ----------
        X
            A DataFrame, or what makes one, with the columns of the contract under its names or
            the table's headers, in any order; others are ignored.

        Raises
        ------
        CairnError
            With all that is wrong: columns that are not there, and values, with their rows.
        """
        return self._ask(X).probabilities

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803 - as above
        """The label of each row, as the service gives it; parameters as of `predict_proba`."""
        return self.classes_[self._ask(X).labels]

    def _ask(self, rows: Any) -> Predictions:
        asked = matrix(rows, self.contract, self.engineering)
        shares = self.pipeline.predict_proba(asked)
        known = Predictions(self.pipeline.predict(asked), shares)
        return inference.decided(known, self.contract.target.decision)


def matrix(rows: Any, contract: Contract, engineering: Engineering) -> Floats:
    """The model's input of the rows of a DataFrame, n × k, by the transform of the service.

    Raises
    ------
    CairnError
        As `FramePipeline.predict_proba`; or where the model was trained with other code of
        `stages/engineering.py`.
    """
    if contract.engineering not in {None, engineering.sha256}:
        raise CairnError(
            "stages/engineering.py is not the one that this model was trained with; check out the "
            "commit of the model, or run `dvc repro`"
        )
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
    found, problems = _columns(frame, contract)
    if problems:
        raise CairnError("; ".join(problems))
    return np.column_stack(list(to_features(found, contract, engineering).values()))


def _columns(frame: pd.DataFrame, contract: Contract) -> tuple[dict[str, Any], list[str]]:
    """The columns as `transform.to_features` takes them, and what is wrong with them."""
    named = names([str(label) for label in frame.columns], contract)
    places = {name: place for place, name in reversed(list(enumerate(named)))}
    found: dict[str, Any] = {}
    problems: list[str] = []
    for column in contract.columns:
        if named.count(column.name) > 1:
            problems.append(f"the column {column.name!r} stands in the rows twice")
        elif column.name in places:
            values = frame.iloc[:, places[column.name]]
            found[column.name], wrong = _read(values, column, contract)
            problems += wrong
        elif column.missing:
            found[column.name] = _read(pd.Series([None] * len(frame)), column, contract)[0]
    needed = [column for column in contract.columns if not column.missing]
    absent = [repr(column.header or column.name) for column in needed if column.name not in places]
    if absent:
        have = ", ".join(repr(str(label)) for label in frame.columns)
        problems.insert(0, f"the rows have no {', '.join(absent)}; they have {have}")
    return found, problems


def names(labels: Sequence[str], contract: Contract) -> list[str]:
    """The contract's names of a DataFrame's columns; another column keeps its label.

    A label is the table's header, the name itself, or a header that makes the name.
    """
    # The second of two headers x pandas calls x.1.
    undone = [match[1] if (match := SECOND.fullmatch(each)) else each for each in labels]
    plain, as_read = (header.headings(tuple(each)) for each in (labels, undone))
    return [
        next((name for name in wanted if name in contract.headers), wanted[0])
        for wanted in (
            (contract.aliases.get(label, label), label, one.name, two.name)
            for label, one, two in zip(labels, plain, as_read, strict=True)
        )
    ]


def _read(values: pd.Series, column: Column, contract: Contract) -> tuple[Any, list[str]]:
    """A column's values as the transform takes them, and what is wrong with them."""
    if column.kind in NUMBERS and pd.api.types.is_numeric_dtype(values):
        # All at once, for there may be millions.
        read: Any = values.to_numpy(dtype=np.float64, na_value=np.nan)
        absent, unread = np.isnan(read), np.zeros(len(read), dtype=bool)
    else:
        given = _given(values, column, contract)
        some = [value if value is None else _READERS[column.kind](value, column) for value in given]
        absent = np.array([value is None for value in given], dtype=bool)
        unread = np.array([value is None for value in some], dtype=bool) & ~absent
        read = _typed(some, column)
    problems = [
        _problem(values, places, column, text)
        for places, text in (
            (unread, _ALLOWED[column.kind]),
            (absent & (not column.missing), "a value, for none may be missing"),
            *_beyond(read, column),
        )
        if places.any()
    ]
    return read, problems


def _given(values: pd.Series, column: Column, contract: Contract) -> list[Any]:
    """Turn the values into Python's; None where one is missing, as pandas or the table has it."""
    rule = rule_of(column, contract)
    is_missing = values.isna().to_numpy()
    listed = zip(values.astype(object).tolist(), is_missing, strict=True)
    return [
        None if is_none else rule.clean_text(value) if isinstance(value, str) else value
        for value, is_none in listed
    ]


def _problem(values: pd.Series, places: NDArray[np.bool_], column: Column, allowed: str) -> str:
    rows = np.flatnonzero(places)
    some = zip(values.iloc[rows[:SHOWN]].tolist(), rows[:SHOWN].tolist(), strict=True)
    shown = ", ".join(f"{value!r} in row {row}" for value, row in some)
    more = "" if len(rows) <= SHOWN else f" and {len(rows) - SHOWN:,} more"
    return f"{column.header or column.name}: got {shown}{more}; allowed: {allowed}"


def _beyond(read: Any, column: Column) -> list[tuple[NDArray[np.bool_], str]]:
    """Which values are read but not allowed, and what is."""
    if column.kind in NUMBERS:
        low = -LARGEST if column.minimum is None else column.minimum
        high = LARGEST if column.maximum is None else column.maximum
        far = (read < low) | (read > high)
        broken = ~far & ~np.isnan(read) & (column.kind == "integer") & (np.floor(read) != read)
        return [(far, f"{low:g} to {high:g}"), (broken, "whole numbers")]
    if column.kind == "category" and not column.unknown:
        known = {None, *column.categories}
        other = np.array([value not in known for value in read], dtype=bool)
        return [(other, ", ".join(map(repr, column.categories)))]
    return []


def _typed(read: list[Any], column: Column) -> Any:
    """The values as the transform takes those of this kind."""
    if column.kind == "category":
        return read
    if column.kind == "date":
        return np.array(read, dtype="datetime64[s]")
    return np.array([np.nan if value is None else value for value in read], dtype=np.float64)


def _number(value: Any, column: Column) -> float | None:
    if isinstance(value, str):
        return formats.read_number(value, column.format)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _boolean(value: Any, _: Column) -> float | None:
    return BOOLEANS.get(str(value).lower())


def _category(value: Any, column: Column) -> Category | None:
    """A text, or a whole number; pandas makes a float of a code beside a gap."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(column.categories[0], str):
        return str(value)
    try:
        return int(value)
    except (TypeError, ValueError):
        number = _number(value, column)
        return int(number) if number is not None and number.is_integer() else None


def _date(value: Any, column: Column) -> datetime | None:
    if isinstance(value, str):
        return formats.read_date(value, column.format)
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return formats.read_date_of_number(float(value), column.format)
    if isinstance(value, date | np.datetime64):
        time = pd.Timestamp(value)
        whole = (time.tz_convert("UTC").tz_localize(None) if time.tz else time).floor("s")
        return datetime(*whole.timetuple()[:6])  # noqa: DTZ001 - a contract's times have no zone
    return None


_READERS: Mapping[str, Callable[[Any, Column], Any]] = {
    "number": _number,
    "integer": _number,
    "boolean": _boolean,
    "category": _category,
    "date": _date,
}
_ALLOWED = {
    "number": "numbers",
    "integer": "whole numbers",
    "boolean": "true or false",
    "category": "whole numbers",
    "date": "dates, as datetimes or texts of ISO 8601",
}
