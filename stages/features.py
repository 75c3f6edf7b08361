"""features: make the model's numbers of each row, and split the rows.

The service imports this module for `matrix`, so what its image has not is imported only where the
stage runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages import console, engineering
from stages.console import CairnError, say
from stages.contract import Contract, Part
from stages.paths import PROCESSED, TERMS, TEST, TRAIN

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
ALONE = 50  # rows whose features are made once more, one by one
SECONDS = 19  # of an ISO date and time, in characters


class Group(NamedTuple):
    """Some successive rows of data/processed.

    Attributes
    ----------
    rows
        The rows.
    place
        Of the group among all.
    held_out
        How many rows of each class are for the test.
    """

    rows: pa.Table
    place: int
    held_out: NDArray[np.int64]


class Made(NamedTuple):
    """The features of a group, its rows split."""

    train: pa.Table
    test: pa.Table


def main() -> None:
    """Turn data/processed into data/features."""
    from functools import partial  # noqa: PLC0415

    from stages import compute, params, parquet  # noqa: PLC0415
    from stages.parsing import contract_file  # noqa: PLC0415

    knobs = params.load()
    block, terms = knobs.features, contract_file.read(TERMS)
    held_out = shares(counts(terms), block.test_size, block.seed, terms)
    make = partial(made, terms=terms, seed=block.seed)
    groups = (
        Group(rows, place, held_out[place]) for place, rows in enumerate(parquet.groups(PROCESSED))
    )
    TRAIN.parent.mkdir(parents=True, exist_ok=True)
    with (
        compute.engine(knobs.compute) as engine,
        console.Progress("features") as progress,
        parquet.Writer(TRAIN) as train,
        parquet.Writer(TEST) as test,
    ):
        for found in engine.map(make, groups):
            train.write(found.train)
            test.write(found.test)
            progress.add(len(found.train) + len(found.test))
    for writer in (train, test):
        say(f"features: {writer.rows:,} rows × {writer.columns - 1} features in {writer.path}")


def counts(terms: Contract) -> NDArray[np.int64]:
    """Rows of each class in each group of data/processed: groups × classes."""
    from stages import parquet  # noqa: PLC0415

    classes, name = len(terms.target.classes), terms.target.name
    return np.array(
        [
            np.bincount(codes(rows[name], terms), minlength=classes)
            for rows in parquet.groups(PROCESSED, [name])
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
    test = chosen(classes, group.held_out, np.random.default_rng([seed, group.place]))
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


def shares(
    counts: NDArray[np.int64], test_size: float, seed: int, terms: Contract
) -> NDArray[np.int64]:
    """How many rows of each class in each group are for the test: each class in proportion.

    Parameters
    ----------
    counts
        Rows of each class in each group: groups × classes.

    Returns
    -------
    array
        As `counts`; with rows drawn within groups by `chosen`, every choice of that many rows of
        a class is as likely as any other, and no more than one group is in memory.

    Raises
    ------
    CairnError
        Where the rows of some class do not go round.
    """
    whole = counts.sum(axis=0)
    wanted = np.rint(whole * test_size).astype(np.int64).clip(1)
    if (wanted >= whole).any():
        raise _unsplittable(whole, test_size, terms)
    random = np.random.default_rng(seed)
    drawn = [
        random.multivariate_hypergeometric(counts[:, code], wanted[code], method="marginals")
        for code in range(len(whole))
    ]
    return np.array(drawn).T


def chosen(
    classes: Codes, held_out: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which of the rows are for the test: so many of each class, drawn at random."""
    found = np.zeros(len(classes), dtype=bool)
    for code, number in enumerate(held_out):
        found[random.choice(np.flatnonzero(classes == code), number, replace=False)] = True
    return found


def _unsplittable(whole: NDArray[np.int64], test_size: float, terms: Contract) -> CairnError:
    """Why the rows do not go round: the rarest classes, and what to do."""
    rarest = np.argsort(whole, kind="stable")[:3]
    rare = ", ".join(f"{terms.target.classes[code]!r} has {whole[code]:,}" for code in rarest)
    return CairnError(
        f"features.test_size: {test_size} of {whole.sum():,} rows leaves a class without a row to "
        f"train or to test on ({rare}); add rows, leave the class out, or change the share"
    )


if __name__ == "__main__":
    console.run(main)
