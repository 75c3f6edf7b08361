"""Turn the columns of a table into the features of the model, for the pipeline and the service.

Each row's features come from that row alone, so training and serving cannot drift apart.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cairn.console import CairnError
from cairn.contract import Contract, Part

Floats = NDArray[np.float32]
Columns = Mapping[str, Floats]
CHECKED_ROWS = 50  # rows whose features are made once more, one by one
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
        """Make more features of n rows, from those that their columns give."""
        engineer: Callable[[Columns], Columns] = self._module.engineer
        return engineer(columns)

    @property
    def sha256(self) -> str:
        """SHA-256 of the code, hex."""
        return hashlib.sha256(Path(str(self._module.__file__)).read_bytes()).hexdigest()


def import_engineering(name: str) -> Engineering:
    """Import the module of the user's own features by its name."""
    return Engineering(importlib.import_module(name))


def columns(rows: Any, contract: Contract) -> dict[str, Any]:
    """The contract's columns of data/processed, an Arrow table, as `features` takes them."""
    return {
        column.name: rows[column.name].to_pylist()
        if column.kind == "category"
        else rows[column.name].cast("float32").to_numpy()
        if column.kind == "boolean"
        else rows[column.name].to_numpy()
        for column in contract.columns
    }


def features(
    columns: Mapping[str, Any], contract: Contract, engineering: Engineering
) -> dict[str, Floats]:
    """The model's input of each row, from that row alone.

    Parameters
    ----------
    columns
        Column name → n values; a DataFrame is such a mapping. A missing value is None, NaN or NaT.
    contract
        Says which columns there are, in which order, their categories and the parts of dates.

    Returns
    -------
    dict
        Feature name → n float32: numbers as they are, booleans 0 and 1, categories as their
        place in the contract, the parts of dates, NaN where a value is missing; then what
        `stages.engineering` makes of them.
    """
    values = encode([columns[name] for name in contract.names], contract)
    made = {
        feature.name: np.asarray(column, dtype=np.float32)
        for feature, column in zip(contract.own, values, strict=True)
    }
    return {**made, **engineered(made, contract, engineering)}


def check_rows_alone(
    given: Mapping[str, Any],
    found: Mapping[str, Floats],
    contract: Contract,
    engineering: Engineering,
    rows: int = CHECKED_ROWS,
) -> None:
    """Raise a CairnError where a row by itself has other features than among others."""
    own = {feature.name for feature in contract.own}
    if own == found.keys():
        return
    for place in range(min(rows, *map(len, found.values()))):
        one = {name: values[place : place + 1] for name, values in given.items()}
        for name, alone in features(one, contract, engineering).items():
            if not np.array_equal(alone, found[name][place : place + 1], equal_nan=True):
                raise CairnError(
                    f"stages/engineering.py: {name!r} of data row {place + 1} is {alone[0]:g} by "
                    f"itself and {found[name][place]:g} among others; make it of its own row alone"
                )


def matrix(rows: Sequence[Sequence[Any]], contract: Contract, engineering: Engineering) -> Floats:
    """The features of rows, n × k, from their values in the order of the contract's columns.

    All at once: column by column it would take the service longer than the model.
    """
    if not contract.plain:
        rows = list(zip(*encode(list(zip(*rows, strict=True)), contract), strict=True))
    made = np.array(rows, dtype=np.float32)
    if not contract.engineering:
        return made
    own = {feature.name: made[:, place] for place, feature in enumerate(contract.own)}
    return np.column_stack([made, *engineered(own, contract, engineering).values()])


def encode(columns: Sequence[Any], contract: Contract) -> list[Any]:
    """The columns, in order, each category as its number, each date as its parts."""
    found: list[Any] = []
    for column, values in zip(contract.columns, columns, strict=True):
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
        values = [value and str(value)[:ISO_SECONDS] for value in values]
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


def engineered(columns: Columns, contract: Contract, engineering: Engineering) -> dict[str, Floats]:
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
            made = dict(engineering(given))
            found = {name: np.asarray(values, dtype=np.float32) for name, values in made.items()}
    except Exception as error:  # whatever people's own code raises
        raise CairnError(f"stages/engineering.py: {type(error).__name__}: {error}") from error
    for name, numbers in found.items():
        if name in columns or name == contract.target.name or not isinstance(name, str):
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
