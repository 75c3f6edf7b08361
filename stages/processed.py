"""processed: parse the table, check every row against the contract, write typed Parquet."""

from __future__ import annotations

import csv
import json
import re
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
from stages.params import Processed
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


class Held(NamedTuple):
    """Rows that keep a contract, the contract, and why the others were set aside."""

    rows: pd.DataFrame
    terms: Contract
    problems: pd.DataFrame


def main() -> None:
    """Turn data/raw into data/processed."""
    block = params.load().processed
    say(f"processed: parsing {RAW}")
    header, table = read(RAW)
    titles = [title(text) for text in header]
    frame = without(named(table, titles), block.drop)
    say(f"processed: checking {len(frame):,} rows × {len(frame.columns) - 1} columns")
    held = hold(frame, dict(titles), block)
    for text in rounded(frame, held.terms):
        say(f"processed: {text}")
    counts = report(len(frame), held.problems)
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    held.rows.to_parquet(PROCESSED, index=False)
    contract.write(held.terms, TERMS)
    REPORT.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    say(f"processed: {counts['kept']:,} rows in {PROCESSED}, {counts['set_aside']:,} set aside")


def read(path: Path) -> tuple[list[str], pd.DataFrame]:
    """Parse a CSV file.

    Returns
    -------
    list of str, DataFrame
        The header as it stands, and the rows with the types that pandas infers, each of which
        knows missing values.

    Raises
    ------
    CairnError
        Where the file is no table: what is wrong, and on which line if it is known.
    """
    try:
        header = even(path)
        frame = pd.read_csv(path, dtype_backend="numpy_nullable", low_memory=False)
    except FileNotFoundError:
        raise CairnError(f"{path}: no such file; run `dvc repro`") from None
    except UnicodeDecodeError as error:
        raise CairnError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason})") from None
    except (csv.Error, pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise CairnError(f"{path}: not a CSV table: {str(error).strip()}") from None
    if frame.empty:
        raise CairnError(f"{path}: a header and no rows")
    if len(header) == 1:
        raise CairnError(f"{path}: one column only, {header[0]!r}; separate columns by commas")
    return header, frame


def even(path: Path) -> list[str]:
    """The header of a CSV file; a CairnError where a line has more or fewer fields than it.

    pandas fills short lines up with missing values and says nothing.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        header: list[str] = []
        for line in lines:
            header = header or line
            if line and len(line) != len(header):
                raise CairnError(
                    f"{path}: line {lines.line_num:,} has {len(line)} fields, the header "
                    f"{len(header)}"
                )
    return header


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
    return frame.drop(columns=[_known(name, "processed.drop", frame) for name in drop])


def hold(frame: pd.DataFrame, units: dict[str, str | None], block: Processed) -> Held:
    """Infer the contract and hold every row to it.

    Raises
    ------
    CairnError
        Where a row breaks it and `bad_rows` says to fail, or no row keeps it.
    """
    terms = infer(frame, units, block.target, block.max_categories)
    rows = typed(frame, terms)
    problems = check(rows, terms)
    if problems.empty:
        return Held(rows, terms, problems)
    if block.bad_rows == "fail":
        raise CairnError(
            f"{describe(problems)}; mend the source, or set processed.bad_rows: set_aside"
        )
    kept = frame[~frame.index.isin(problems["row"])]
    if kept.empty:
        raise CairnError(f"no row is left: {describe(problems)}")
    # A class, a category or a gap may have gone with the rows.
    terms = infer(kept, units, block.target, block.max_categories)
    return Held(typed(kept, terms), terms, problems)


def infer(
    frame: pd.DataFrame, units: dict[str, str | None], target: str, max_categories: int
) -> Contract:
    """The contract that the rows themselves suggest; a CairnError where they suggest none."""
    target = _known(target, "processed.target", frame)
    features = frame.drop(columns=target)
    if not len(features.columns):
        raise CairnError(f"{RAW}: no column is left beside the target {target!r}")
    columns = [_column(features[name], units[name], max_categories) for name in map(str, features)]
    return Contract(
        columns=tuple(columns),
        target=Target(name=target, classes=_classes(frame[target], max_categories)),
    )


def _known(name: str, key: str, frame: pd.DataFrame) -> str:
    """A column's name as an identifier, given that way or as in the header."""
    found = title(name).name
    if found not in frame:
        raise CairnError(f"{key}: got {name!r}; the columns are {', '.join(frame.columns)}")
    return found


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
    number = types.is_numeric_dtype(present) and not types.is_bool_dtype(present)
    if number and not ((present % 1 == 0) & (present.abs() < 2**63)).all():
        raise CairnError(
            f"target {target.name!r} has numbers that name no class; Cairn predicts classes: whole "
            "numbers within 64 bits, texts or booleans"
        )
    labels: list[Label] = sorted(pd.Series(present, dtype=_label_dtype(present)).unique().tolist())
    if len(labels) not in range(2, max_categories + 1):
        raise CairnError(
            f"target {target.name!r} has {len(labels):,} distinct labels; allowed: 2 to "
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
    count = problems["row"].nunique()
    return f"{count:,} bad row{'s' if count > 1 else ''}: {'; '.join(parts)}"


def rounded(frame: pd.DataFrame, terms: Contract) -> list[str]:
    """A sentence for each column of whole numbers that float32 cannot tell apart."""
    whole = [frame[column.name] for column in terms.columns if column.kind == "integer"]
    before = {str(values.name): values.nunique() for values in whole}
    after = {str(values.name): values.astype("float32").nunique() for values in whole}
    return [
        f"column {name!r}: float32 makes {after[name]:,} of {count:,} distinct whole numbers"
        for name, count in before.items()
        if after[name] < count
    ]


def report(rows: int, problems: pd.DataFrame) -> dict[str, Any]:
    """The counts that DVC shows as metrics: rows in all, kept, set aside, and why."""
    aside = int(problems["row"].nunique())
    counts = Counter(zip(problems["column"], problems["problem"], strict=True))
    return {
        "rows": rows,
        "kept": rows - aside,
        "set_aside": aside,
        "problems": {f"{column}: {problem}": count for (column, problem), count in counts.items()},
    }


if __name__ == "__main__":
    console.run(main)
