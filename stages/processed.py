"""processed: parse the table, hold every row to the contract, write typed Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from stages import compute, console, params, parquet
from stages.compute import Engine
from stages.console import CairnError, say
from stages.contract import Contract
from stages.params import Processed
from stages.parsing import checks, contract_file, infer, table
from stages.parsing.checks import REPEATED, Held, Tally
from stages.parsing.infer import Survey
from stages.paths import PROCESSED, RAW, REPORT, TERMS

ANEW = f"if this is another table, delete {TERMS} and run `dvc repro`, which makes a new one"

EMPTY = f"{RAW}: a header and no rows; it needs rows"


def main() -> None:
    """Turn data/raw into data/processed."""
    knobs = params.load()
    block = knobs.processed
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    with compute.engine(knobs.compute) as engine:
        if TERMS.exists():
            terms = contract_file.read(TERMS)
            fits(terms, block)
            tally = held(terms, block, engine)
        else:
            say(f"processed: no {TERMS} yet; inferring one from {RAW}")
            terms, found, tally = first(block, engine)
            say(f"\n{infer.shown(terms, found)}\n")
            say(f"target {terms.target.name}: {terms.target.classes}\n")
            contract_file.write(terms, TERMS)  # now that the rows keep it
            say(f"processed: wrote {TERMS}; read it, edit it, commit it")
    for text in remarks(tally, terms, block):
        say(f"processed: {text}")
    REPORT.write_text(json.dumps(tally.report(), indent=2) + "\n", encoding="utf-8")
    say(f"processed: {tally.rows - tally.aside:,} rows in {PROCESSED}, {tally.aside:,} set aside")


class First(NamedTuple):
    """The contract that a table suggests, what is known of its rows, and how they keep it."""

    terms: Contract
    found: Survey
    tally: Tally


class Surprise(Exception):
    """The rest of a table is not as its beginning."""


def first(block: Processed, engine: Engine) -> First:
    """Infer the contract and hold every row to it, reading the table once where that will do."""
    try:
        return guessed(block, engine)
    except Surprise:
        terms, found = inferred(block, engine)
        return First(terms, found, held(terms, block, engine))


def guessed(block: Processed, engine: Engine) -> First:
    """The contract that the first part suggests, where all rows keep it: then it is that of all.

    Raises
    ------
    Surprise
        Where one does not, or only all rows can tell: whether a whole number is a code, a date
        has hours.
    """
    parts = table.parts(RAW, block)
    beginning = next(parts, None)
    if beginning is None or beginning.form != "csv" or next(parts, None) is None:
        raise Surprise
    try:
        terms = suggested(infer.survey(beginning, target(block), (), apart(block)), block)
    except CairnError:
        raise Surprise from None
    if any(column.kind in {"integer", "date"} for column in terms.columns):
        raise Surprise
    found = Survey()

    def look(part: Held) -> None:
        nonlocal found
        if len(part.problems):
            raise Surprise
        found += infer.of(part.rows, terms.target.name)

    tally = held(terms, block, engine, look)
    return First(terms, found, tally)


def inferred(block: Processed, engine: Engine) -> tuple[Contract, Survey]:
    """The contract that all rows suggest, and what is known of them."""
    found = surveyed(block, engine, [])
    texts = infer.mixed(found)
    if texts:
        # 7 in one part, x in another: both are texts, if they are as they were typed.
        found = surveyed(block, engine, texts)
    if not found.rows:
        raise CairnError(EMPTY)
    if not found.good:
        raise CairnError(
            f"{RAW}: no row is left: each lacks a target or has an infinite number; mend the source"
        )
    return suggested(found, block), found


def suggested(found: Survey, block: Processed) -> Contract:
    """The contract that a survey suggests; raises a CairnError where it suggests none."""
    return infer.propose(
        found,
        block.target,
        identifier=block.identifier,
        drop=block.drop,
        most=block.max_categories,
    )


def target(block: Processed) -> str:
    """The target's name as an identifier."""
    return table.title(block.target).name


def apart(block: Processed) -> list[str]:
    """The columns that the model does not see."""
    return [table.title(name).name for name in (block.identifier, *block.drop) if name]


def surveyed(block: Processed, engine: Engine, texts: list[str]) -> Survey:
    """What is known of all rows."""
    survey = partial(infer.survey, target=target(block), texts=texts, apart=apart(block))
    found = Survey()
    with console.Progress("processed, inferring") as progress:
        for part in engine.map(survey, table.parts(RAW, block)):
            found += part
            progress.add(part.rows)
    return found


def fits(terms: Contract, block: Processed) -> None:
    """Raise a CairnError where params.yaml speaks of other columns than the contract."""
    if target(block) != terms.target.name:
        raise CairnError(
            f"processed.target: got {target(block)!r}, {TERMS} has {terms.target.name!r}; {ANEW}"
        )
    identifier = block.identifier and table.title(block.identifier).name
    if identifier != terms.identifier:
        raise CairnError(
            f"processed.identifier: got {identifier!r}, {TERMS} has {terms.identifier!r}; change "
            f"one of them; {ANEW}"
        )
    dropped = {table.title(name).name for name in block.drop} & set(terms.names)
    if dropped:
        raise CairnError(
            f"processed.drop: {', '.join(sorted(dropped))} is in {TERMS}, too; take it out of one "
            f"of them; {ANEW}"
        )


def held(
    terms: Contract, block: Processed, engine: Engine, look: Callable[[Held], None] | None = None
) -> Tally:
    """Hold every row to the contract, and write those that keep it.

    Parameters
    ----------
    look
        Sees each part before it is written.

    Raises
    ------
    CairnError
        Where a row breaks it and params.yaml says to fail, or no row keeps it.
    """
    repeated = duplicates(terms, block, engine)
    tally, done = Tally(), 0
    hold = partial(checks.hold, terms=terms)
    with console.Progress("processed") as progress, parquet.Writer(PROCESSED) as writer:
        for part in engine.map(hold, table.parts(RAW, block)):
            if look:
                look(part)
            again = repeated[done : done + len(part.rows)]
            done += len(part.rows)
            writer.write(part.rows.filter(pa.array(~again)) if again.any() else part.rows)
            tally.repeat(tally.rows + 1 + np.flatnonzero(part.good)[: len(again)][again])
            tally.add(part)
            progress.add(part.total)
        checks.lacks(terms, tally.columns)
        verdict(tally, block)
    return tally


def duplicates(terms: Contract, block: Processed, engine: Engine) -> NDArray[np.bool_]:
    """Which of the rows that keep the contract are the same as one before; none if nobody asks."""
    if block.duplicates == "keep":
        return np.empty(0, dtype=bool)
    hold = partial(_hashed, terms=terms)
    hashes = list(engine.map(hold, table.parts(RAW, block)))
    return pd.Series(np.concatenate(hashes)).duplicated().to_numpy()


def _hashed(part: table.Part, terms: Contract) -> NDArray[np.uint64]:
    return checks.hold(part, terms, hashed=True).hashes


def verdict(tally: Tally, block: Processed) -> None:
    """Raise a CairnError where there are no rows, none is left, or some are not to be there."""
    if not tally.rows:
        raise CairnError(EMPTY)
    broken = tally.counts.keys() - {REPEATED}
    if broken and block.bad_rows == "fail":
        raise CairnError(
            f"{tally.described()}; mend the source, or "
            f"{TERMS if TERMS.exists() else 'put the column into processed.drop'}, or set "
            "processed.bad_rows: set_aside"
        )
    if REPEATED in tally.counts and block.duplicates == "fail":
        raise CairnError(
            f"{tally.described()}; mend the source, or set processed.duplicates: set_aside or keep"
        )
    if tally.aside == tally.rows:
        raise CairnError(f"no row is left: {tally.described()}")


def remarks(tally: Tally, terms: Contract, block: Processed) -> list[str]:
    """What people should know of a table that passed."""
    dropped = {table.title(name).name for name in block.drop}
    named = {*terms.names, terms.target.name, *([terms.identifier] if terms.identifier else [])}
    texts = [
        f"column {name!r} is left out: it is neither in {TERMS} nor in processed.drop"
        for name in sorted(tally.columns - named - dropped)
    ]
    texts += [f"column {text}, in {count:,} rows" for text, count in tally.notes.items()]
    return [*texts, tally.described()] if tally.aside else texts


if __name__ == "__main__":
    console.run(main)
