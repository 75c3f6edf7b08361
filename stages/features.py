"""features: make the model's numbers of each row, and split the rows.

The service imports this module for `matrix`, so what its image has not is imported only where the
stage runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages import console, engineering
from stages.console import CairnError, say
from stages.contract import Column, Contract, Part
from stages.paths import PROCESSED, TERMS, TEST, TRAIN

if TYPE_CHECKING:
    import pyarrow as pa

    from stages.twins import Hashes, Mask, Plan

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
ALONE = 50  # rows whose features are made once more, one by one
SECONDS = 19  # of an ISO date and time, in characters
NAMED = 3  # classes that one line names


class Group(NamedTuple):
    """Some successive rows of data/processed.

    Attributes
    ----------
    rows
        The rows.
    place
        Of the group among all.
    held_out
        How many rows of each class that have no copy are for the test.
    is_twin, is_test
        Whether a row has a copy, and of those that do whether it is for the test.
    """

    rows: pa.Table
    place: int
    held_out: NDArray[np.int64]
    is_twin: Mask
    is_test: Mask


class Survey(NamedTuple):
    """What is known of each row before any is split.

    Attributes
    ----------
    hashes, classes
        n: what rows are alike in, and their class codes.
    ends
        Where each row group of data/processed ends.
    """

    hashes: Hashes
    classes: Codes
    ends: Codes


class Made(NamedTuple):
    """The features of a group, its rows split."""

    train: pa.Table
    test: pa.Table


def main() -> None:
    """Turn data/processed into data/features."""
    from stages import compute, params, parquet  # noqa: PLC0415
    from stages.parsing import contract_file  # noqa: PLC0415

    knobs = params.load()
    block, terms = knobs.features, contract_file.read(TERMS)
    found = survey(terms)
    split = plan(found, block.test_size, block.seed, terms)
    for text in remarks(found, split, terms):
        say(f"features: {text}")
    held_out = shares(counts(found, split, terms), split.singles, block.seed)
    make = partial(made, terms=terms, seed=block.seed)
    starts = np.append(0, found.ends)
    groups = (
        Group(
            rows,
            place,
            held_out[place],
            split.is_twin[starts[place] : starts[place + 1]],
            split.is_test[starts[place] : starts[place + 1]],
        )
        for place, rows in enumerate(parquet.groups(PROCESSED))
    )
    del found
    TRAIN.parent.mkdir(parents=True, exist_ok=True)
    with (
        compute.engine(knobs.compute) as engine,
        console.Progress("features") as progress,
        parquet.Writer(TRAIN) as train,
        parquet.Writer(TEST) as test,
    ):
        for part in engine.map(make, groups):
            train.write(part.train)
            test.write(part.test)
            progress.add(len(part.train) + len(part.test))
    for writer in (train, test):
        say(f"features: {writer.rows:,} rows × {writer.columns - 1} features in {writer.path}")


def survey(terms: Contract) -> Survey:
    """Hash the features of each row of data/processed, and read its class.

    It runs on the cores of this machine: to send the rows to others would take longer.
    """
    from stages import compute, parquet  # noqa: PLC0415

    names = [*terms.names, terms.target.name]
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        console.Progress("features, looking for duplicates") as progress,
    ):
        look = partial(_surveyed, terms=terms)
        parts = []
        for part in compute.Local(pool).map(look, parquet.groups(PROCESSED, names)):
            parts.append(part)
            progress.add(len(part[1]))
    hashes, classes = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Survey(hashes, classes, np.cumsum([len(part) for _, part in parts]))


def _surveyed(rows: pa.Table, terms: Contract) -> tuple[Hashes, Codes]:
    """The hash of each row, and its class code."""
    from stages import twins  # noqa: PLC0415

    return twins.hash_columns(numbers(rows, terms)), codes(rows[terms.target.name], terms)


def numbers(rows: pa.Table, terms: Contract) -> Iterator[Floats]:
    """The features of the columns themselves, of many rows at once.

    What `stages.engineering` makes of them is alike where they are.
    """
    for column in terms.columns:
        values = rows[column.name]
        if column.kind == "category":
            yield _category_codes(values, column)
        elif column.kind == "date":
            yield from parts(values.to_numpy(), column.parts)
        else:
            yield np.asarray(values.cast("float32").to_numpy(), dtype=np.float32)


def _category_codes(values: Any, column: Column) -> Floats:
    """As `Column.code` of each value."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    known = pa.array(column.categories, type=values.type)
    places = pc.fill_null(pc.index_in(values, known), len(column.categories))
    found = pc.if_else(pc.is_valid(values), places.cast("float32"), None)
    return np.asarray(found.to_numpy(), dtype=np.float32)


def plan(found: Survey, test_size: float, seed: int, terms: Contract) -> Plan:
    """Choose the rows for the test.

    Raises
    ------
    CairnError
        Where a class has no row, or no class has two that are no copies.
    """
    from stages import twins  # noqa: PLC0415

    names = terms.target.classes
    whole = np.bincount(found.classes, minlength=len(names))
    if not whole.all():
        raise CairnError(
            f"data/processed: class {names[int(whole.argmin())]!r} has no row; add some, or take "
            f"it out of the target's classes in {TERMS}"
        )
    split = twins.hold_out(found.hashes, found.classes, len(names), test_size, seed)
    if not (split.singles.any() or split.is_test.any()):
        raise CairnError(
            f"features.test_size: no class of {', '.join(map(repr, names[:NAMED]))} … has two rows "
            f"that differ, so none of the {whole.sum():,} rows is left to test on; add rows"
        )
    return split


def remarks(found: Survey, split: Plan, terms: Contract) -> list[str]:
    """What people should know of the split: how many rows are copies, and what has no test."""
    from stages import twins  # noqa: PLC0415

    of = twins.count(found.hashes, found.classes)
    texts = [f"{of.copies:,} of {of.rows:,} rows are copies of another in every feature"]
    if of.copies:
        texts[0] += "; a row and its copies stay on one side of the split"
    if of.contradicting:
        texts.append(
            f"{of.contradicting:,} rows have the features of another row and a different "
            f"{terms.target.name}: no model can get all of them right"
        )
    held = np.bincount(found.classes[split.is_test], minlength=len(split.singles)) + split.singles
    lone = [repr(terms.target.classes[code]) for code in np.flatnonzero(held == 0)]
    if lone:
        more = f" and {len(lone) - NAMED:,} more" if len(lone) > NAMED else ""
        texts.append(
            f"class {', '.join(lone[:NAMED])}{more} has no two rows that differ: all of its rows "
            "are for training, and the test says nothing of it"
        )
    return texts


def counts(found: Survey, split: Plan, terms: Contract) -> NDArray[np.int64]:
    """Rows without a copy of each class in each group of data/processed: groups × classes."""
    number, starts = len(terms.target.classes), np.append(0, found.ends)
    return np.array(
        [
            np.bincount(found.classes[start:end][~split.is_twin[start:end]], minlength=number)
            for start, end in pairwise(starts)
        ]
    )


def made(group: Group, terms: Contract, seed: int) -> Made:
    """The features of a group with its class codes, split."""
    import pyarrow as pa  # noqa: PLC0415

    classes = codes(group.rows[terms.target.name], terms)
    given = columns(group.rows, terms)
    found: dict[str, Any] = features(given, terms)
    if group.place == 0:
        by_row(given, found, terms)
    table = pa.table({**found, terms.target.name: classes})
    random = np.random.default_rng([seed, group.place])
    single = np.where(group.is_twin, -1, classes)
    test = chosen(single, group.held_out, random) | group.is_test
    return Made(table.filter(pa.array(~test)), table.filter(pa.array(test)))


def columns(rows: pa.Table, terms: Contract) -> dict[str, Any]:
    """The contract's columns of data/processed as `features` takes them."""
    return {
        column.name: rows[column.name].to_pylist()
        if column.kind == "category"
        else rows[column.name].cast("float32").to_numpy()
        if column.kind == "boolean"
        else rows[column.name].to_numpy()
        for column in terms.columns
    }


def by_row(
    given: Mapping[str, Any], found: Mapping[str, Floats], terms: Contract, rows: int = ALONE
) -> None:
    """Raise a CairnError where a row alone has other features than among others."""
    own = {feature.name for feature in terms.own}
    if own == found.keys():
        return
    for place in range(min(rows, *map(len, found.values()))):
        one = {name: values[place : place + 1] for name, values in given.items()}
        for name, alone in features(one, terms).items():
            if not np.array_equal(alone, found[name][place : place + 1], equal_nan=True):
                raise CairnError(
                    f"stages/engineering.py: {name!r} of data row {place + 1} is {alone[0]:g} by "
                    f"itself and {found[name][place]:g} among others; make it of its own row alone"
                )


def features(columns: Mapping[str, Any], terms: Contract) -> dict[str, Floats]:
    """The model's input of each row, from that row alone.

    Parameters
    ----------
    columns
        Column name → n values; a DataFrame is such a mapping. A missing value is None, NaN or NaT.
    terms
        Says which columns there are, in which order, their categories and the parts of dates.

    Returns
    -------
    dict
        Feature name → n float32: numbers as they are, booleans 0 and 1, categories as their
        place in the contract, the parts of dates, NaN where a value is missing; then what
        `stages.engineering` makes of them.
    """
    values = encode([columns[name] for name in terms.names], terms)
    made = {
        feature.name: np.asarray(column, dtype=np.float32)
        for feature, column in zip(terms.own, values, strict=True)
    }
    return {**made, **engineered(made, terms)}


def matrix(rows: Sequence[Sequence[Any]], terms: Contract) -> Floats:
    """The features of rows, n × k, from their values in the order of the contract's columns.

    All at once: column by column it would take the service longer than the model.
    """
    if not terms.plain:
        rows = list(zip(*encode(list(zip(*rows, strict=True)), terms), strict=True))
    made = np.array(rows, dtype=np.float32)
    if not terms.engineering:
        return made
    own = {feature.name: made[:, place] for place, feature in enumerate(terms.own)}
    return np.column_stack([made, *engineered(own, terms).values()])


def encode(columns: Sequence[Any], terms: Contract) -> list[Any]:
    """The columns, in order, each category as its number, each date as its parts."""
    found: list[Any] = []
    for column, values in zip(terms.columns, columns, strict=True):
        if column.kind == "category":
            found.append([column.code(value) for value in values])
        elif column.kind == "date":
            found += parts(values, column.parts)
        else:
            found.append(values)
    return found


def parts(values: Any, wanted: Sequence[Part]) -> list[Floats]:
    """Parts of n dates, each as n float32: NumPy's or pandas' datetimes, or ISO texts.

    >>> parts(["2024-02-29T13:45", None], ["year", "weekday", "hour"])[1].tolist()
    [3.0, nan]
    """
    if isinstance(values, list | tuple):
        values = [value and str(value)[:SECONDS] for value in values]
    times = np.asarray(values, dtype="datetime64[s]")
    return [np.where(np.isnat(times), np.float32(np.nan), _part(times, part)) for part in wanted]


def _part(times: NDArray[np.datetime64], part: Part) -> Floats:
    """One part; Monday is weekday 0."""
    days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    seconds = (times - days).astype(np.int64)
    found: dict[Part, Callable[[], Any]] = {
        "year": lambda: times.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": lambda: months.astype(np.int64) % 12 + 1,
        "day": lambda: (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        "weekday": lambda: (days.astype(np.int64) + 3) % 7,
        "hour": lambda: seconds // 3600,
        "minute": lambda: seconds // 60 % 60,
    }
    return np.asarray(found[part](), dtype=np.float32)


def engineered(columns: engineering.Columns, terms: Contract) -> dict[str, Floats]:
    """What `stages.engineering` makes of n rows' features, held to what it promises.

    Raises
    ------
    CairnError
        Where it fails, changes what it is given, or gives a feature the name of another or of the
        target, or not one number a row.
    """
    given = {name: _read_only(values) for name, values in columns.items()}
    rows = len(next(iter(given.values())))
    try:
        with np.errstate(all="ignore"):  # what is not finite is missing
            made = dict(engineering.engineer(given))
            found = {name: np.asarray(values, dtype=np.float32) for name, values in made.items()}
    except Exception as error:  # whatever people's own code raises
        raise CairnError(f"stages/engineering.py: {type(error).__name__}: {error}") from error
    for name, numbers in found.items():
        if name in columns or name == terms.target.name or not isinstance(name, str):
            raise CairnError(
                f"stages/engineering.py: {name!r} is taken by a feature or the target, or no text; "
                "give it another name"
            )
        if numbers.shape != (rows,):
            raise CairnError(
                f"stages/engineering.py: {name!r} has the shape {numbers.shape}; "
                f"return one number for each of the {rows} rows"
            )
    missing = np.float32(np.nan)
    return {
        name: np.where(np.isfinite(numbers), numbers, missing) for name, numbers in found.items()
    }


def _read_only(values: Floats) -> Floats:
    """The same values, which cannot be written to."""
    found = values.view()
    found.flags.writeable = False
    return found


def engineering_sha256() -> str:
    """SHA-256 of the code that makes the user's own features."""
    return hashlib.sha256(Path(str(engineering.__file__)).read_bytes()).hexdigest()


def codes(labels: Any, terms: Contract) -> Codes:
    """Each label, in an Arrow array or what makes one, as its place in the contract's classes."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    values = labels if isinstance(labels, pa.Array | pa.ChunkedArray) else pa.array(labels)
    known = pa.array(terms.target.classes, type=values.type)
    return np.asarray(pc.index_in(values, known), dtype=np.int64)


def shares(counts: NDArray[np.int64], wanted: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """How many rows of each class in each group are for the test.

    Parameters
    ----------
    counts
        Rows of each class in each group: groups × classes.
    wanted
        Of each class, how many are for the test in all.

    Returns
    -------
    array
        As `counts`; with rows drawn within groups by `chosen`, every choice of that many rows of
        a class is as likely as any other, and no more than one group is in memory.
    """
    random = np.random.default_rng(seed)
    drawn = [
        random.multivariate_hypergeometric(counts[:, code], wanted[code], method="marginals")
        for code in range(len(wanted))
    ]
    return np.array(drawn).T


def chosen(
    classes: Codes, held_out: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which of the rows are for the test: so many of each class, drawn at random.

    Parameters
    ----------
    classes
        The class code of each row; -1 where the row is not to be drawn.
    """
    found = np.zeros(len(classes), dtype=bool)
    for code, number in enumerate(held_out):
        found[random.choice(np.flatnonzero(classes == code), number, replace=False)] = True
    return found


if __name__ == "__main__":
    console.run(main)
