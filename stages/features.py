"""features: turn each row into the features of the model, and split the rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import pyarrow as pa

from cairn import parquet
from cairn.compute.engine import Local, open_engine
from cairn.console import Progress, run, say
from cairn.contract import Contract
from cairn.modeling.duplicates import Mask
from cairn.params.base import read_params
from cairn.params.compute import Compute
from cairn.params.features import Features
from cairn.paths import CONTRACT, PROCESSED, TEST, TRAIN
from cairn.splits import stratified
from cairn.splits.fingerprints import Fingerprints, hash_group, join_groups
from cairn.splits.labels import encode_labels
from cairn.tables import contract_file
from cairn.transform import Engineering, check_row_wise, read_columns, to_features
from stages import engineering

ENGINEERING = Engineering(engineering)


class Group(NamedTuple):
    """A row group of data/processed.

    Attributes
    ----------
    rows
        n rows.
    is_test
        n: whether a row is for the test.
    is_first
        Whether it is the first of the file.
    """

    rows: pa.Table
    is_test: Mask
    is_first: bool


class Sides(NamedTuple):
    """The features and class codes of a row group, split."""

    train: pa.Table
    test: pa.Table


def main() -> None:
    """Turn data/processed into data/features."""
    (params, compute), contract = read_params(Features, Compute), contract_file.read(CONTRACT)
    rows = hash_rows(contract)
    split = stratified.split_rows(rows, contract, params.test_size, params.seed)
    for note in split.notes:
        say(f"features: {note}")
    write_features(read_groups(split.is_test, rows.ends.tolist()), contract, compute)


def hash_rows(contract: Contract) -> Fingerprints:
    """Hash the features of each row of data/processed.

    It runs on the cores of this machine: sending the rows to other machines would take longer.
    """
    names = [*contract.names, contract.target.name]
    groups = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, Progress("features, hashing") as progress:
        hash_one = partial(hash_group, contract=contract)
        for group in Local(pool).map(hash_one, parquet.groups(PROCESSED, names)):
            groups.append(group)
            progress.add(len(group.classes))
    return join_groups(groups)


def read_groups(is_test: Mask, ends: list[int]) -> Iterator[Group]:
    """Read the row groups of data/processed, which end at these rows, with their split."""
    for rows, (start, end) in zip(parquet.groups(PROCESSED), pairwise([0, *ends]), strict=True):
        yield Group(rows, is_test[start:end], start == 0)


def write_features(groups: Iterator[Group], contract: Contract, compute: Compute) -> None:
    """Write data/features: n float32 features and the class code of each row."""
    TRAIN.parent.mkdir(parents=True, exist_ok=True)
    with (
        open_engine(compute) as engine,
        Progress("features") as progress,
        parquet.Writer(TRAIN) as train,
        parquet.Writer(TEST) as test,
    ):
        for sides in engine.map(partial(transform, contract=contract), groups):
            train.write(sides.train)
            test.write(sides.test)
            progress.add(len(sides.train) + len(sides.test))
    for writer in (train, test):
        say(f"features: {writer.rows:,} rows × {writer.columns - 1} features in {writer.path}")


def transform(group: Group, contract: Contract) -> Sides:
    """Turn the rows of a group into features and class codes, and split them."""
    columns = read_columns(group.rows, contract)
    values = to_features(columns, contract, ENGINEERING)
    if group.is_first:
        check_row_wise(columns, values, contract, ENGINEERING)
    name = contract.target.name
    table = pa.table({**values, name: encode_labels(group.rows[name], contract)})
    return Sides(table.filter(pa.array(~group.is_test)), table.filter(pa.array(group.is_test)))


if __name__ == "__main__":
    run(main)
