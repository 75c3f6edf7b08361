"""Every row of a table, checked against the contract and written if it keeps it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cairn import parquet
from cairn.compute.engine import Engine
from cairn.console import Progress
from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.params.processed import Processed
from cairn.paths import CONTRACT, RAW
from cairn.tables.header import title
from cairn.tables.part import Part
from cairn.tables.reader import Table
from cairn.tables.tally import REPEATED, Tally
from cairn.tables.validate import BLANKS, ValidPart, check_columns, validate_part

NO_ROWS = f"{RAW}: the table has a header but no rows; add rows to the source"
EDIT_CONTRACT = f"fix the source, or edit {CONTRACT}"
DROP_COLUMN = "fix the source, or add the column to processed.drop"


def write_rows(  # noqa: PLR0913 - what, by which rule, where to, how
    table: Table,
    contract: Contract,
    path: Path,
    engine: Engine,
    *,
    remedy: str = EDIT_CONTRACT,
    inspect: Callable[[ValidPart], None] | None = None,
) -> Tally:
    """Write the rows that keep the contract, and count the problems of the others.

    Parameters
    ----------
    path
        Of the Parquet file.
    remedy
        What to do about a row that breaks the contract, for the error.
    inspect
        Called with each part before it is written; may raise.

    Raises
    ------
    CairnError
        Where a row breaks the contract and params.yaml says to fail, or no row keeps it.
    """
    is_copy = find_copies(table, contract, engine)
    tally, done = Tally(), 0
    validate = partial(validate_part, contract=contract)
    with Progress("processed") as progress, parquet.Writer(path) as writer:
        for part in engine.map(validate, table.parts()):
            if inspect:
                inspect(part)
            copies = is_copy[done : done + len(part.rows)]
            done += len(part.rows)
            writer.write(part.rows.filter(pa.array(~copies)) if copies.any() else part.rows)
            kept = np.flatnonzero(part.is_valid)[: len(copies)]
            tally.add_copies(tally.rows + 1 + kept[copies])
            tally.add(part)
            progress.add(part.total)
        check_columns(contract, tally.columns)
        check_tally(tally, table.params, remedy)
    return tally


def find_copies(table: Table, contract: Contract, engine: Engine) -> NDArray[np.bool_]:
    """Tell of each row that keeps the contract whether it is a copy of an earlier one.

    Returns
    -------
    array
        Empty where params.yaml keeps copies.
    """
    if table.params.duplicates == "keep":
        return np.empty(0, dtype=bool)
    hash_one = partial(_hash_part, contract=contract)
    hashes = list(engine.map(hash_one, table.parts()))
    return pd.Series(np.concatenate(hashes)).duplicated().to_numpy()


def _hash_part(part: Part, contract: Contract) -> NDArray[np.uint64]:
    return validate_part(part, contract, with_hashes=True).hashes


def check_tally(tally: Tally, params: Processed, remedy: str) -> None:
    """Raise a CairnError where there are no rows, none is left, or params.yaml says to fail."""
    if not tally.rows:
        raise CairnError(NO_ROWS)
    has_problems = bool(tally.counts.keys() - {REPEATED})
    if has_problems and params.bad_rows == "fail":
        raise CairnError(f"{tally.describe()}; {remedy}, or set processed.bad_rows: set_aside")
    if tally.broken > params.max_bad_rows * tally.rows and tally.set_aside < tally.rows:
        raise CairnError(
            f"{tally.describe()}; more than processed.max_bad_rows ({params.max_bad_rows:g}) of "
            f"all rows break the contract; {remedy}, or raise processed.max_bad_rows"
        )
    if REPEATED in tally.counts and params.duplicates == "fail":
        raise CairnError(
            f"{tally.describe()}; fix the source, or set processed.duplicates: set_aside or keep"
        )
    if tally.set_aside == tally.rows:
        raise CairnError(f"no row is left: {tally.describe()}")


def list_remarks(tally: Tally, contract: Contract, params: Processed) -> list[str]:
    """List what people should know of a table whose rows have been written."""
    dropped = {title(name).name for name in params.drop}
    texts = [
        f"column {name!r} is left out: it is neither in {CONTRACT} nor in processed.drop"
        for name in sorted(tally.columns - contract.headers.keys() - dropped)
    ]
    blanks = [text for text in tally.notes if text.endswith(BLANKS)]
    is_many = len(blanks) > 1  # a line for each of many columns would hide the rest
    if is_many:
        count = sum(tally.notes[text] for text in blanks)
        texts.append(f"removed surrounding blanks from {count:,} texts in {len(blanks)} columns")
    texts += [
        f"column {text}, in {count:,} row{'s' if count > 1 else ''}"
        for text, count in tally.notes.items()
        if not (is_many and text in blanks)
    ]
    return [*texts, tally.describe()] if tally.set_aside else texts
