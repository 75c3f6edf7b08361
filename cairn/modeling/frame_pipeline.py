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
from cairn.contract import LARGEST, NUMBERS, Category, Column, Contract
from cairn.errors import CairnError
from cairn.inference import Predictions
from cairn.tables import header
from cairn.tables.missing import rule_of
from cairn.transform import Engineering, to_features

BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
REPEATED = re.compile(r"(.+)\.\d+")
MAX_VALUES = 3  # wrong values of a column

Floats = NDArray[np.float32]


class FramePipeline(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """Predicts the table's labels for rows of the table in a DataFrame.

    Parameters
    ----------
    contract
        What a row is, which labels there are, and the threshold of the decision.
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
        """Pickle the contract as text: its cached properties would change the bytes."""
        text = self.contract.model_dump_json(exclude_none=True)
        return {"contract": text, "pipeline": self.pipeline, "engineering": self.engineering}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the contract from its text."""
        self.contract = Contract.model_validate_json(state["contract"])
        self.pipeline = state["pipeline"]
        self.engineering = state["engineering"]

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn that it is fitted, which it always is."""
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
        """Predict the probabilities of n rows, n × classes.

        Parameters
        ----------
        X
            A DataFrame, or what makes one, with the columns of the contract under its names or
            the table's headers, in any order; others are ignored.

        Raises
        ------
        CairnError
            Lists every problem: missing columns, and wrong values with their rows.
        """
        return self._predict(X).probabilities

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803 - as above
        """Predict the label of each row as the service does; parameters as in `predict_proba`."""
        return self.classes_[self._predict(X).labels]

    def _predict(self, rows: Any) -> Predictions:
        matrix = build_matrix(rows, self.contract, self.engineering)
        probabilities = self.pipeline.predict_proba(matrix)
        predictions = Predictions(self.pipeline.predict(matrix), probabilities)
        return inference.apply_decision(predictions, self.contract.target.decision)


def build_matrix(rows: Any, contract: Contract, engineering: Engineering) -> Floats:
    """Build the model's n × k input from the rows of a DataFrame, by the service's transform.

    Raises
    ------
    CairnError
        As in `FramePipeline.predict_proba`; or if the model was trained with other code of
        `stages/engineering.py`.
    """
    if contract.engineering not in {None, engineering.sha256}:
        raise CairnError(
            "stages/engineering.py is not the one that this model was trained with; check out the "
            "commit of the model, or run `dvc repro`"
        )
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
    columns, problems = _read_columns(frame, contract)
    if problems:
        raise CairnError("; ".join(problems))
    return np.column_stack(list(to_features(columns, contract, engineering).values()))


def _read_columns(frame: pd.DataFrame, contract: Contract) -> tuple[dict[str, Any], list[str]]:
    """Read the columns as `transform.to_features` takes them, and describe their problems."""
    names = match_names([str(label) for label in frame.columns], contract)
    indices = {name: index for index, name in reversed(list(enumerate(names)))}
    columns: dict[str, Any] = {}
    problems: list[str] = []
    for column in contract.columns:
        if names.count(column.name) > 1:
            problems.append(f"the rows have the column {column.name!r} twice")
        elif column.name in indices:
            values = frame.iloc[:, indices[column.name]]
            columns[column.name], wrong = _read_column(values, column, contract)
            problems += wrong
        elif column.missing:
            columns[column.name] = _read_column(pd.Series([None] * len(frame)), column, contract)[0]
    needed = [column for column in contract.columns if not column.missing]
    absent = [repr(column.header or column.name) for column in needed if column.name not in indices]
    if absent:
        have = ", ".join(repr(str(label)) for label in frame.columns)
        problems.insert(0, f"the rows have no {', '.join(absent)}; they have {have}")
    return columns, problems


def match_names(labels: Sequence[str], contract: Contract) -> list[str]:
    """Match the labels of a DataFrame to the contract's names; another column keeps its label.

    A label is the table's header, the name itself, or a header that becomes the name.
    """
    # pandas calls the second of two headers x x.1.
    restored = [match[1] if (match := REPEATED.fullmatch(each)) else each for each in labels]
    as_written, as_restored = (header.headings(tuple(each)) for each in (labels, restored))
    return [
        next((name for name in candidates if name in contract.headers), candidates[0])
        for candidates in (
            (contract.aliases.get(label, label), label, one.name, two.name)
            for label, one, two in zip(labels, as_written, as_restored, strict=True)
        )
    ]


def _read_column(values: pd.Series, column: Column, contract: Contract) -> tuple[Any, list[str]]:
    """Read a column's values as the transform takes them, and describe their problems."""
    if column.kind in NUMBERS and pd.api.types.is_numeric_dtype(values):
        # All at once: there may be millions.
        result: Any = values.to_numpy(dtype=np.float64, na_value=np.nan)
        absent, unread = np.isnan(result), np.zeros(len(result), dtype=bool)
    else:
        plain = _to_python(values, column, contract)
        parsed = [
            value if value is None else _READERS[column.kind](value, column) for value in plain
        ]
        absent = np.array([value is None for value in plain], dtype=bool)
        unread = np.array([value is None for value in parsed], dtype=bool) & ~absent
        result = _to_array(parsed, column)
    problems = [
        _describe_problem(values, is_wrong, column, text)
        for is_wrong, text in (
            (unread, _ALLOWED[column.kind]),
            (absent & (not column.missing), "a value; none may be missing"),
            *_find_out_of_range(result, column),
        )
        if is_wrong.any()
    ]
    return result, problems


def _to_python(values: pd.Series, column: Column, contract: Contract) -> list[Any]:
    """Convert values to Python's own; None if missing to pandas or by a marker of the table."""
    rule = rule_of(column, contract)
    is_missing = values.isna().to_numpy()
    listed = zip(values.astype(object).tolist(), is_missing, strict=True)
    return [
        None if is_none else rule.clean_text(value) if isinstance(value, str) else value
        for value, is_none in listed
    ]


def _describe_problem(
    values: pd.Series, is_wrong: NDArray[np.bool_], column: Column, allowed: str
) -> str:
    rows = np.flatnonzero(is_wrong)
    some = zip(values.iloc[rows[:MAX_VALUES]].tolist(), rows[:MAX_VALUES].tolist(), strict=True)
    shown = ", ".join(f"{value!r} in row {row}" for value, row in some)
    more = "" if len(rows) <= MAX_VALUES else f" and {len(rows) - MAX_VALUES:,} more"
    return f"{column.header or column.name}: got {shown}{more}; allowed: {allowed}"


def _find_out_of_range(values: Any, column: Column) -> list[tuple[NDArray[np.bool_], str]]:
    """Find the values that are outside what the contract allows, and say what it allows."""
    if column.kind in NUMBERS:
        low = -LARGEST if column.minimum is None else column.minimum
        high = LARGEST if column.maximum is None else column.maximum
        far = (values < low) | (values > high)
        is_integer = column.kind == "integer"
        broken = ~far & ~np.isnan(values) & is_integer & (np.floor(values) != values)
        return [(far, f"{low:g} to {high:g}"), (broken, "whole numbers")]
    if column.kind == "category" and not column.unknown:
        known = {None, *column.categories}
        unknown = np.array([value not in known for value in values], dtype=bool)
        return [(unknown, ", ".join(map(repr, column.categories)))]
    return []


def _to_array(values: list[Any], column: Column) -> Any:
    """Convert parsed values to what the transform takes for this kind of column."""
    if column.kind == "category":
        return values
    if column.kind == "date":
        return np.array(values, dtype="datetime64[s]")
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _read_number(value: Any, column: Column) -> float | None:
    if isinstance(value, str):
        return formats.read_number(value, column.format)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _read_boolean(value: Any, _: Column) -> float | None:
    return BOOLEANS.get(str(value).lower())


def _read_category(value: Any, column: Column) -> Category | None:
    """Read a text or an integer; pandas turns integers beside a missing value into floats."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(column.categories[0], str):
        is_code = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return column.padded.get(int(value), str(value)) if is_code else str(value)
    try:
        return int(value)
    except (TypeError, ValueError):
        number = _read_number(value, column)
        return int(number) if number is not None and number.is_integer() else None


def _read_date(value: Any, column: Column) -> datetime | None:
    if isinstance(value, str):
        return formats.read_date(value, column.format)
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return formats.read_date_of_number(float(value), column.format)
    if isinstance(value, date | np.datetime64):
        time = pd.Timestamp(value)
        seconds = (time.tz_convert("UTC").tz_localize(None) if time.tz else time).floor("s")
        return datetime(*seconds.timetuple()[:6])  # noqa: DTZ001 - a contract's times have no zone
    return None


_READERS: Mapping[str, Callable[[Any, Column], Any]] = {
    "number": _read_number,
    "integer": _read_number,
    "boolean": _read_boolean,
    "category": _read_category,
    "date": _read_date,
}
_ALLOWED = {
    "number": "numbers",
    "integer": "whole numbers",
    "boolean": "true or false",
    "category": "whole numbers",
    "date": "dates, as datetimes or ISO 8601 text",
}
