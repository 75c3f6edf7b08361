"""Turn the columns of a table into the features of the model, for the pipeline and the service.

Each row's features come only from that row, so training and serving cannot drift apart.
"""

from __future__ import annotations

import hashlib
import importlib
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import starmap
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cairn.contract import Contract, Part
from cairn.errors import CairnError

Floats = NDArray[np.float32]
Columns = Mapping[str, Floats]
CHECKED_ROWS = 50  # rows whose features are computed once more, one by one
ISO_SECONDS = 19  # characters of an ISO date and time, down to the second


class Engineering:
    """The user's own features: a module with a function `engineer`, and the hash of its code.

    It is pickled by the module's name, so a process that unpickles it runs the code that it has.

    Parameters
    ----------
    module
        `stages.engineering`.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __reduce__(self) -> tuple[Callable[[str], Engineering], tuple[str]]:
        return import_engineering, (self._module.__name__,)

    def __call__(self, columns: Columns) -> Columns:
        """Compute more features of n rows from those that the columns give."""
        engineer: Callable[[Columns], Columns] = self._module.engineer
        return engineer(columns)

    @property
    def sha256(self) -> str:
        """SHA-256 of the code, hex."""
        return hashlib.sha256(Path(str(self._module.__file__)).read_bytes()).hexdigest()


def import_engineering(name: str) -> Engineering:
    """Import the module of the user's own features by its name."""
    return Engineering(importlib.import_module(name))


def read_columns(rows: Any, contract: Contract) -> dict[str, Any]:
    """Read the contract's columns from an Arrow table of data/processed, for `to_features`."""
    return {
        column.name: rows[column.name].to_pylist()
        if column.kind == "category"
        else rows[column.name].cast("float32").to_numpy()
        if column.kind == "boolean"
        else rows[column.name].to_numpy()
        for column in contract.columns
    }


def to_features(
    columns: Mapping[str, Any], contract: Contract, engineering: Engineering
) -> dict[str, Floats]:
    """Compute the model's input of each row, only from that row.

    Parameters
    ----------
    columns
        Column name → n values; a DataFrame is such a mapping. A missing value is None, NaN or NaT.
    contract
        Says which columns there are, in which order, their categories and the parts of dates.

    Returns
    -------
    dict
        Feature name → n float32: numbers as they are, booleans as 0 and 1, categories as their
        index in the contract, the parts of dates, NaN where a value is missing; then the features
        that `stages.engineering` adds.
    """
    values = encode_columns([columns[name] for name in contract.names], contract)
    own = {
        feature.name: np.asarray(column, dtype=np.float32)
        for feature, column in zip(contract.own, values, strict=True)
    }
    return {**own, **engineer(own, contract, engineering)}


def check_row_wise(
    columns: Mapping[str, Any],
    features: Mapping[str, Floats],
    contract: Contract,
    engineering: Engineering,
    rows: int = CHECKED_ROWS,
) -> None:
    """Check that each row has the same features by itself as among other rows.

    Parameters
    ----------
    columns, features
        What `to_features` was given and what it returned.
    rows
        How many of the first rows are checked.

    Raises
    ------
    CairnError
        Where a feature of the user's own depends on other rows.
    """
    own = {feature.name for feature in contract.own}
    if own == features.keys():
        return
    for index in range(min(rows, *map(len, features.values()))):
        row = {name: values[index : index + 1] for name, values in columns.items()}
        for name, by_itself in to_features(row, contract, engineering).items():
            among_others = features[name][index : index + 1]
            if not np.array_equal(by_itself, among_others, equal_nan=True):
                raise CairnError(
                    f"stages/engineering.py: feature {name!r} depends on other rows: in data row "
                    f"{index + 1} it is {by_itself[0]:g} when the row is alone and "
                    f"{among_others[0]:g} among other rows; compute it from its own row only"
                )


def to_matrix(
    rows: Sequence[Sequence[Any]], contract: Contract, engineering: Engineering
) -> Floats:
    """Compute the features of rows, n × k, from their values in the order of the columns.

    All rows at once: column by column it would take the service longer than the model. The result
    is not to be written to.
    """
    if contract.plain:
        matrix = pack_rows(rows, len(contract.columns))
    else:
        encoded = encode_columns(list(zip(*rows, strict=True)), contract)
        if len(rows) == 1:
            matrix = np.array([[values[0] for values in encoded]], dtype=np.float32)
        else:
            matrix = np.empty((len(rows), len(encoded)), np.float32)
            for index, values in enumerate(encoded):
                matrix[:, index] = np.asarray(values, dtype=np.float32)
    if not contract.engineering:
        return matrix
    own = {feature.name: matrix[:, index] for index, feature in enumerate(contract.own)}
    return np.column_stack([matrix, *engineer(own, contract, engineering).values()])


def pack_rows(rows: Sequence[Sequence[Any]], width: int) -> Floats:
    """Pack rows of so many numbers, true, false or None into a matrix, NaN for None.

    `struct` takes a third of NumPy's time, and None not at all.
    """
    pack = make_packer(width)
    try:
        packed = pack(*rows[0]) if len(rows) == 1 else b"".join(starmap(pack, rows))
    except struct.error:
        return np.array(rows, dtype=np.float32)
    return np.frombuffer(packed, np.float32).reshape(-1, width)


def pack_row(row: Sequence[Any]) -> bytes | None:
    """Pack one row of numbers, true and false as float32; None where a value is missing."""
    try:
        return make_packer(len(row))(*row)
    except struct.error:
        return None


@cache
def make_packer(width: int) -> Callable[..., bytes]:
    """Make a function that packs so many numbers as float32."""
    return struct.Struct(f"{width}f").pack


def encode_columns(columns: Sequence[Any], contract: Contract) -> list[Any]:
    """Encode the columns, in order: each category as its number, each date as its parts."""
    encoded: list[Any] = []
    for column, values in zip(contract.columns, columns, strict=True):
        if column.kind == "category":
            encoded.append(column.codes(values))
        elif column.kind == "date":
            encoded += extract_parts(values, column.parts)
        else:
            encoded.append(values)
    return encoded


def extract_parts(values: Any, parts: Sequence[Part]) -> list[Floats]:
    """Extract parts of n dates, each as n float32.

    Parameters
    ----------
    values
        Datetimes of NumPy or pandas, or a list of ISO texts.

    Examples
    --------
    >>> extract_parts(["2024-02-29T13:45", None], ["year", "weekday", "hour"])[1].tolist()
    [3.0, nan]
    """
    if isinstance(values, list | tuple):
        values = [value and str(value)[:ISO_SECONDS] for value in values]
    times = np.asarray(values, dtype="datetime64[s]")
    missing = np.float32(np.nan)
    return [np.where(np.isnat(times), missing, _extract_part(times, part)) for part in parts]


def _extract_part(times: NDArray[np.datetime64], part: Part) -> Floats:
    """Extract one part; Monday is weekday 0."""
    days, months = times.astype("datetime64[D]"), times.astype("datetime64[M]")
    seconds = (times - days).astype(np.int64)
    extract: dict[Part, Callable[[], Any]] = {
        "year": lambda: times.astype("datetime64[Y]").astype(np.int64) + 1970,
        "month": lambda: months.astype(np.int64) % 12 + 1,
        "day": lambda: (days - months.astype("datetime64[D]")).astype(np.int64) + 1,
        "weekday": lambda: (days.astype(np.int64) + 3) % 7,
        "hour": lambda: seconds // 3600,
        "minute": lambda: seconds // 60 % 60,
    }
    return np.asarray(extract[part](), dtype=np.float32)


def engineer(columns: Columns, contract: Contract, engineering: Engineering) -> dict[str, Floats]:
    """Compute the user's own features of n rows, and check them.

    Raises
    ------
    CairnError
        Where the user's code fails, changes its argument, names a feature like another one or
        like the target, or does not return one number for each row.
    """
    read_only = {name: _to_read_only(values) for name, values in columns.items()}
    rows = len(next(iter(read_only.values())))
    try:
        with np.errstate(all="ignore"):  # what is not finite is missing
            features = {
                name: np.asarray(values, dtype=np.float32)
                for name, values in dict(engineering(read_only)).items()
            }
    except Exception as error:  # whatever people's own code raises
        raise CairnError(f"stages/engineering.py: {type(error).__name__}: {error}") from error
    for name, values in features.items():
        if not isinstance(name, str):
            raise CairnError(f"stages/engineering.py: the name {name!r} is not text; use a string")
        if name in columns or name == contract.target.name:
            raise CairnError(
                f"stages/engineering.py: {name!r} is already the name of a feature or of the "
                "target; choose another name"
            )
        if values.shape != (rows,):
            raise CairnError(
                f"stages/engineering.py: {name!r} has the shape {values.shape}; return one number "
                f"for each of the {rows} rows"
            )
    missing = np.float32(np.nan)
    return {
        name: np.where(np.isfinite(values), values, missing) for name, values in features.items()
    }


def _to_read_only(values: Floats) -> Floats:
    """View the same values so that they cannot be written to."""
    view = values.view()
    view.flags.writeable = False
    return view
