"""Hash the features of every row, so that a split can keep a row and its copies together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cairn.contract import Column, Contract
from cairn.modeling.duplicates import Hashes, hash_columns
from cairn.splits.labels import Codes, encode_labels
from cairn.transform import extract_parts

Floats = NDArray[np.float32]


class GroupFingerprints(NamedTuple):
    """The hashes and class codes of one row group."""

    hashes: Hashes
    classes: Codes


class Fingerprints(NamedTuple):
    """What a split knows of the rows: 16 bytes for each.

    Attributes
    ----------
    hashes, classes
        n each: rows with equal features have equal hashes; class codes.
    ends
        Index one past the last row of each row group of data/processed.
    """

    hashes: Hashes
    classes: Codes
    ends: Codes


def hash_group(rows: pa.Table, contract: Contract) -> GroupFingerprints:
    """Hash the features of a row group of data/processed, and encode its labels."""
    return GroupFingerprints(
        hash_columns(to_numbers(rows, contract)),
        encode_labels(rows[contract.target.name], contract),
    )


def join_groups(groups: Iterable[GroupFingerprints]) -> Fingerprints:
    """Join the fingerprints of successive row groups; there must be one at least."""
    hashes, classes = zip(*groups, strict=True)
    return Fingerprints(
        np.concatenate(hashes), np.concatenate(classes), np.cumsum([len(each) for each in classes])
    )


def to_numbers(rows: pa.Table, contract: Contract) -> Iterator[Floats]:
    """Yield the features that the columns give, each as n float32, all rows at once.

    The user's own features are left out: rows with equal columns have equal features.
    """
    for column in contract.columns:
        values = rows[column.name]
        if column.kind == "category":
            yield _encode_categories(values, column)
        elif column.kind == "date":
            yield from extract_parts(values.to_numpy(), column.parts)
        else:
            yield np.asarray(values.cast("float32").to_numpy(), dtype=np.float32)


def _encode_categories(values: pa.ChunkedArray, column: Column) -> Floats:
    """Encode each value as `Column.code` does."""
    known = pa.array(column.categories, type=values.type)
    indices = pc.fill_null(pc.index_in(values, known), len(column.categories))
    codes = pc.if_else(pc.is_valid(values), indices.cast("float32"), None)
    return np.asarray(codes.to_numpy(), dtype=np.float32)
