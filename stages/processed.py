"""processed: parse the table, check every row against the contract, write typed Parquet."""

from __future__ import annotations

import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandas.api import types

from stages import console, contract, params
from stages.console import CairnError, say
from stages.contract import Column, Contract, Kind, Label, Target
from stages.paths import PROCESSED, RAW, REPORT, TERMS

DTYPES: dict[Kind, str] = {
    "number": "float32",
    "integer": "float32",
    "boolean": "boolean",
    "category": "str",
}
LARGEST = float(np.finfo(np.float32).max)
EXAMPLES = 5


class Title(NamedTuple):
    """A column's header: its name as an identifier, and its unit."""

    name: str
    unit: str | None


def main() -> None:
    """Turn data/raw into data/processed."""
    block = params.load().processed
    say(f"processed: parsing {RAW}")
    header, table = read(RAW)
    titles = [title(text) for text in header]
    frame, units = named(table, titles), dict(titles)
    terms = infer(without(frame, block.drop), units, block.target, block.max_categories)
    rows = typed(frame, terms)
    say(f"processed: checking {len(rows):,} rows × {len(terms.columns)} columns")
    problems = check(rows, terms)
    if block.bad_rows == "fail" and len(problems):
        raise CairnError(
            f"{describe(problems)}; mend {RAW}'s source, or set processed.bad_rows: set_aside"
        )
    kept = rows[~rows.index.isin(problems["row"])]
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    kept.to_parquet(PROCESSED, index=False)
    contract.write(terms, TERMS)
    REPORT.write_text(json.dumps(report(rows, problems), indent=2) + "\n", encoding="utf-8")
    say(f"processed: {len(kept):,} rows kept, {len(rows) - len(kept):,} set aside, in {PROCESSED}")


def read(path: Path) -> tuple[list[str], pd.DataFrame]:
    """Parse a CSV file.

    Returns
    -------
    list of str, DataFrame
        The header as it stands, and the rows with the types that pandas infers.

    Raises
    ------
    CairnError
        Where the file is no table: what is wrong, and on which line if it is known.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        with warnings.catch_warnings():
            # Lines longer than the header: pandas would drop what stands over with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, index_col=False, low_memory=False)
    except FileNotFoundError:
        raise CairnError(f"{path}: no such file; run `dvc repro`") from None
    except UnicodeDecodeError as error:
        raise CairnError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason})") from None
    except (csv.Error, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise CairnError(f"{path}: not a CSV table: {str(error).strip()}") from None
    except pd.errors.ParserWarning:
        raise CairnError(f"{path}: its rows have more fields than its header") from None
    if frame.empty:
        raise CairnError(f"{path}: a header and no rows")
    return header, frame


def title(text: str) -> Title:
    """Split a header `name (unit)` and make the name an identifier.

    >>> title("sepal length (cm)")
    Title(name='sepal_length', unit='cm')
    """
    match = re.fullmatch(r"(.*\S)\s*\(([^()]+)\)\s*", text)
    name, unit = match.groups() if match else (text, None)
    return Title(re.sub(r"\W+", "_", name).strip("_"), unit)


def named(frame: pd.DataFrame, titles: Sequence[Title]) -> pd.DataFrame:
    """The frame under the titles' names; a CairnError where one is empty or comes twice."""
    names = [title.name for title in titles]
    for place, name in enumerate(names):
        if not name:
            raise CairnError(f"column {place + 1} of {RAW} has no name; give it one in the header")
        if name in names[:place]:
            raise CairnError(f"column {name!r} stands twice in {RAW}; rename one in the header")
    return frame.set_axis(names, axis="columns")


def without(frame: pd.DataFrame, drop: Sequence[str]) -> pd.DataFrame:
    """The frame less the columns `drop`, each named as in the header or as an identifier."""
    names = [title(name).name for name in drop]
    for name in names:
        _known(name, "processed.drop", frame)
    return frame.drop(columns=names)


def infer(
    frame: pd.DataFrame, units: dict[str, str | None], target: str, max_categories: int
) -> Contract:
    """The contract that the rows themselves suggest; a CairnError where they suggest none."""
    target = title(target).name
    _known(target, "processed.target", frame)
    features = frame.drop(columns=target)
    if not len(features.columns):
        raise CairnError(f"{RAW}: no column is left beside the target {target!r}")
    columns = [_column(features[name], units[name], max_categories) for name in map(str, features)]
    return Contract(
        columns=tuple(columns),
        target=Target(name=target, classes=_classes(frame[target], max_categories)),
    )


def _known(name: str, key: str, frame: pd.DataFrame) -> None:
    if name not in frame:
        raise CairnError(f"{key}: got {name!r}; the columns are {', '.join(frame.columns)}")


def _column(values: pd.Series[Any], unit: str | None, max_categories: int) -> Column:
    """What the values of one column have in common."""
    name = str(values.name)
    present = values.dropna()
    if present.empty:
        raise CairnError(f"column {name!r} has no value at all; add it to processed.drop")
    kind = _kind(present)
    categories = tuple(sorted(map(str, present.unique()))) if kind == "category" else ()
    if len(categories) > max_categories:
        raise CairnError(
            f"column {name!r} has {len(categories):,} distinct texts, more than "
            f"processed.max_categories ({max_categories}); add it to processed.drop, or raise that"
        )
    missing = len(present) < len(values)
    return Column(name=name, kind=kind, unit=unit, categories=categories, missing=missing)


def _kind(present: pd.Series[Any]) -> Kind:
    """The kind of a column's values, none of them missing."""
    if types.infer_dtype(present) == "boolean":
        return "boolean"
    if types.is_integer_dtype(present):
        return "integer"
    return "number" if types.is_float_dtype(present) else "category"


def _classes(target: pd.Series[Any], max_categories: int) -> tuple[Label, ...]:
    """The distinct labels, sorted; a CairnError where they are not what a classifier predicts."""
    present = target.dropna()
    if types.is_float_dtype(present) and not (present % 1 == 0).all():
        raise CairnError(
            f"target {target.name!r} has fractions; Cairn predicts classes: whole numbers, "
            "texts or booleans"
        )
    labels: list[Label] = sorted(pd.Series(present, dtype=_label_dtype(present)).unique().tolist())
    if len(labels) not in range(2, max_categories + 1):
        raise CairnError(
            f"target {target.name!r} has {len(labels):,} classes; allowed: 2 to "
            f"{max_categories} (processed.max_categories)"
        )
    return tuple(labels)


def _label_dtype(present: pd.Series[Any]) -> str:
    """The type of labels: a whole number stays one where missing labels made it a float."""
    kind = _kind(present)
    return {"boolean": "boolean", "category": "str"}.get(kind, "Int64")


def typed(frame: pd.DataFrame, terms: Contract) -> pd.DataFrame:
    """The contract's columns and the target, each with the type of its kind."""
    target = frame[terms.target.name]
    dtypes = {column.name: DTYPES[column.kind] for column in terms.columns}
    dtypes[terms.target.name] = _label_dtype(target.dropna())
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and `check` says so
        return frame[[*terms.names, terms.target.name]].astype(dtypes)


def schema(terms: Contract) -> pa.DataFrameSchema:
    """The contract as pandera's checks of a typed frame."""
    columns = {column.name: _checks(column) for column in terms.columns}
    known = pa.Check.isin(terms.target.classes, error="not a known class")
    return pa.DataFrameSchema(
        {**columns, terms.target.name: pa.Column(nullable=False, checks=known)}, strict=True
    )


def _checks(column: Column) -> pa.Column:
    """One column's checks."""
    checks = []
    if column.kind == "category":
        checks = [pa.Check.isin(column.categories, error="not a known category")]
    elif column.kind != "boolean":
        lowest = -LARGEST if column.minimum is None else column.minimum
        highest = LARGEST if column.maximum is None else column.maximum
        checks = [pa.Check.in_range(lowest, highest, error=f"not in {lowest:g} to {highest:g}")]
    return pa.Column(DTYPES[column.kind], nullable=column.missing, checks=checks)


def check(rows: pd.DataFrame, terms: Contract) -> pd.DataFrame:
    """Hold typed rows to the contract.

    Returns
    -------
    DataFrame
        One line a problem, empty where there is none: column, problem, and row (from 0).
    """
    try:
        schema(terms).validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        found = pd.DataFrame(
            {
                "column": cases["column"],
                "problem": cases["check"].replace("not_nullable", "missing"),
                "row": cases["index"],
            }
        )
        return found.sort_values(["row", "column"], ignore_index=True)
    return pd.DataFrame({"column": [], "problem": [], "row": []})


def describe(problems: pd.DataFrame) -> str:
    """The problems in one sentence: how many rows, which columns, the first few rows of each."""
    parts = []
    for (column, problem), group in problems.groupby(["column", "problem"]):
        rows = ", ".join(str(row + 1) for row in group["row"][:EXAMPLES])
        more = ", …" if len(group) > EXAMPLES else ""
        parts.append(f"{column!r} {problem} in {len(group):,} (data rows {rows}{more})")
    return f"{problems['row'].nunique():,} bad rows: {'; '.join(parts)}"


def report(rows: pd.DataFrame, problems: pd.DataFrame) -> dict[str, Any]:
    """The counts that DVC shows as metrics: rows in all, kept, set aside, and why."""
    aside = int(problems["row"].nunique())
    counts = Counter(zip(problems["column"], problems["problem"], strict=True))
    return {
        "rows": len(rows),
        "kept": len(rows) - aside,
        "set_aside": aside,
        "problems": {f"{column}: {problem}": count for (column, problem), count in counts.items()},
    }


if __name__ == "__main__":
    console.run(main)
