"""features: turn each row into the features of the model, and split the rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn import console
from cairn.console import CairnError, say
from cairn.contract import Column, Contract
from cairn.paths import CONTRACT, PROCESSED, TEST, TRAIN
from cairn.transform import Engineering, check_rows_alone, columns, features, parts
from stages import engineering

if TYPE_CHECKING:
    import pyarrow as pa

    from cairn.modeling.duplicates import Hashes, Mask, Plan

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]
ENGINEERING = Engineering(engineering)
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
    from cairn import parquet  # noqa: PLC0415
    from cairn.compute.engine import open_engine  # noqa: PLC0415
    from cairn.params.base import read_params  # noqa: PLC0415
    from cairn.params.compute import Compute  # noqa: PLC0415
    from cairn.params.features import Features  # noqa: PLC0415
    from cairn.tables import contract_file  # noqa: PLC0415

    (block, compute), contract = read_params(Features, Compute), contract_file.read(CONTRACT)
    found = survey(contract)
    split = plan(found, block.test_size, block.seed, contract)
    for text in remarks(found, split, contract):
        say(f"features: {text}")
    held_out = shares(counts(found, split, contract), split.singles, block.seed)
    make = partial(made, contract=contract, seed=block.seed)
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
        open_engine(compute) as engine,
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


def survey(contract: Contract) -> Survey:
    """Hash the features of each row of data/processed, and read its class.

    It runs on the cores of this machine: to send the rows to others would take longer.
    """
    from cairn import parquet  # noqa: PLC0415
    from cairn.compute.engine import Local  # noqa: PLC0415

    names = [*contract.names, contract.target.name]
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        console.Progress("features, looking for duplicates") as progress,
    ):
        look = partial(_surveyed, contract=contract)
        parts = []
        for part in Local(pool).map(look, parquet.groups(PROCESSED, names)):
            parts.append(part)
            progress.add(len(part[1]))
    hashes, classes = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Survey(hashes, classes, np.cumsum([len(part) for _, part in parts]))


def _surveyed(rows: pa.Table, contract: Contract) -> tuple[Hashes, Codes]:
    """The hash of each row, and its class code."""
    from cairn.modeling import duplicates  # noqa: PLC0415

    return duplicates.hash_columns(numbers(rows, contract)), codes(
        rows[contract.target.name], contract
    )


def numbers(rows: pa.Table, contract: Contract) -> Iterator[Floats]:
    """The features of the columns themselves, of many rows at once.

    What `stages.engineering` makes of them is alike where they are.
    """
    for column in contract.columns:
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


def plan(found: Survey, test_size: float, seed: int, contract: Contract) -> Plan:
    """Choose the rows for the test.

    Raises
    ------
    CairnError
        Where a class has no row, or no class has two that are no copies.
    """
    from cairn.modeling import duplicates  # noqa: PLC0415

    names = contract.target.classes
    whole = np.bincount(found.classes, minlength=len(names))
    if not whole.all():
        raise CairnError(
            f"data/processed: class {names[int(whole.argmin())]!r} has no row; add some, or take "
            f"it out of the target's classes in {CONTRACT}"
        )
    split = duplicates.hold_out(found.hashes, found.classes, len(names), test_size, seed)
    if not (split.singles.any() or split.is_test.any()):
        raise CairnError(
            f"features.test_size: no class of {', '.join(map(repr, names[:NAMED]))} … has two rows "
            f"that differ, so none of the {whole.sum():,} rows is left to test on; add rows"
        )
    return split


def remarks(found: Survey, split: Plan, contract: Contract) -> list[str]:
    """What people should know of the split: how many rows are copies, and what has no test."""
    from cairn.modeling import duplicates  # noqa: PLC0415

    of = duplicates.count(found.hashes, found.classes)
    texts = [f"{of.copies:,} of {of.rows:,} rows are copies of another in every feature"]
    if of.copies:
        texts[0] += "; a row and its copies stay on one side of the split"
    if of.contradicting:
        texts.append(
            f"{of.contradicting:,} rows have the features of another row and a different "
            f"{contract.target.name}: no model can get all of them right"
        )
    held = np.bincount(found.classes[split.is_test], minlength=len(split.singles)) + split.singles
    lone = [repr(contract.target.classes[code]) for code in np.flatnonzero(held == 0)]
    if lone:
        more = f" and {len(lone) - NAMED:,} more" if len(lone) > NAMED else ""
        texts.append(
            f"class {', '.join(lone[:NAMED])}{more} has no two rows that differ: all of its rows "
            "are for training, and the test says nothing of it"
        )
    return texts


def counts(found: Survey, split: Plan, contract: Contract) -> NDArray[np.int64]:
    """Rows without a copy of each class in each group of data/processed: groups × classes."""
    number, starts = len(contract.target.classes), np.append(0, found.ends)
    return np.array(
        [
            np.bincount(found.classes[start:end][~split.is_twin[start:end]], minlength=number)
            for start, end in pairwise(starts)
        ]
    )


def made(group: Group, contract: Contract, seed: int) -> Made:
    """The features of a group with its class codes, split."""
    import pyarrow as pa  # noqa: PLC0415

    classes = codes(group.rows[contract.target.name], contract)
    given = columns(group.rows, contract)
    found: dict[str, Any] = features(given, contract, ENGINEERING)
    if group.place == 0:
        check_rows_alone(given, found, contract, ENGINEERING)
    table = pa.table({**found, contract.target.name: classes})
    random = np.random.default_rng([seed, group.place])
    single = np.where(group.is_twin, -1, classes)
    test = chosen(single, group.held_out, random) | group.is_test
    return Made(table.filter(pa.array(~test)), table.filter(pa.array(test)))


def codes(labels: Any, contract: Contract) -> Codes:
    """Each label, in an Arrow array or what makes one, as its place in the contract's classes."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    values = labels if isinstance(labels, pa.Array | pa.ChunkedArray) else pa.array(labels)
    known = pa.array(contract.target.classes, type=values.type)
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
