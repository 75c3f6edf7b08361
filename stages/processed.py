"""processed: parse the table, hold every row to the contract, write typed Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cairn import console, parquet
from cairn.compute.engine import Engine, open_engine
from cairn.console import CairnError, say
from cairn.contract import Column, Contract
from cairn.params.base import read_params
from cairn.params.compute import Compute
from cairn.params.processed import Processed
from cairn.paths import CONTRACT, PROCESSED, RAW, REPORT
from cairn.tables import contract_file, infer, profile, reader, validate
from cairn.tables.decide import Decision, Knobs
from cairn.tables.infer import Proposal, Roles
from cairn.tables.profile import Survey
from cairn.tables.validate import REPEATED, Held, Tally

ANEW = f"if this is another table, delete {CONTRACT} and run `dvc repro`, which makes a new one"

EMPTY = f"{RAW}: a header and no rows; it needs rows"


def main() -> None:
    """Turn data/raw into data/processed."""
    block, compute = read_params(Processed, Compute)
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    with open_engine(compute) as engine:
        notes, roles = beginning(block)
        for text in notes:
            say(f"processed: {text}")
        if CONTRACT.exists():
            contract = contract_file.read(CONTRACT)
            fits(contract, roles, block)
            tally = held(contract, block, engine)
        else:
            say(f"processed: no {CONTRACT} yet; inferring one from {RAW}")
            found, survey, tally = first(block, roles, engine)
            contract = found.contract
            say(f"\n{infer.show(found, survey)}\n")
            say(f"target {contract.target.name}: {', '.join(map(str, contract.target.classes))}\n")
            contract_file.write(contract, CONTRACT)  # now that the rows keep it
            for text in (*loud(found), *infer.hints(contract, survey)):
                say(f"processed: {text}")
            say(f"processed: wrote {CONTRACT}; read it, edit it, commit it")
    for text in remarks(tally, contract, block):
        say(f"processed: {text}")
    REPORT.write_text(json.dumps(tally.report(), indent=2) + "\n", encoding="utf-8")
    say(f"processed: {tally.rows - tally.aside:,} rows in {PROCESSED}, {tally.aside:,} set aside")


class First(NamedTuple):
    """What a table suggests, what is known of its rows, and how they keep the contract."""

    found: Proposal
    survey: Survey
    tally: Tally


class Surprise(Exception):
    """The rest of a table is not as its beginning."""


def beginning(block: Processed) -> tuple[tuple[str, ...], Roles]:
    """What was decided about the file, and its columns by their roles."""
    with closing(reader.parts(RAW, block)) as parts:  # type: ignore[type-var]
        part = next(parts, None)
    if part is None:
        raise CairnError(EMPTY)
    names = {heading.header.strip(): heading.name for heading in part.headings}
    if part.form == "jsonl" or CONTRACT.exists():  # a later row may have more; the contract says it
        wanted = (block.target, block.identifier, *block.drop, *block.keep, *block.formats)
        names = {**{text: reader.title(text).name for text in wanted if text}, **names}
    return part.notes, _roles(names, block)


def _roles(names: Mapping[str, str], block: Processed) -> Roles:
    """The columns' roles, by name."""
    target = known(block.target, "processed.target", names)
    identifier = block.identifier and known(block.identifier, "processed.identifier", names)
    drop = tuple(dict.fromkeys(known(name, "processed.drop", names) for name in block.drop))
    keep = [known(name, "processed.keep", names) for name in block.keep]
    formats = {
        known(name, "processed.formats", names): text for name, text in block.formats.items()
    }
    if identifier in {target, *drop}:
        raise CairnError(
            f"processed.identifier: {identifier!r} is the target, or in processed.drop, too"
        )
    both = {*drop} & {*keep, target}
    if both:
        raise CairnError(
            f"processed.drop: {', '.join(sorted(both))} is the target, or in processed.keep, too"
        )
    return Roles(target, identifier, drop, frozenset(keep), formats)


def known(text: str, key: str, names: Mapping[str, str]) -> str:
    """A column's name, given as that or as its header; a CairnError where there is none."""
    if text.strip() in names:
        return names[text.strip()]
    for name in (text, reader.title(text).name):
        if name in names.values():
            return name
    close = get_close_matches(text, [*names, *names.values()], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise CairnError(f"{key}: got {text!r}{hint}; the columns are {', '.join(names)}")


def loud(found: Proposal) -> list[str]:
    """What people should know of the decisions beyond their table."""
    texts = [f"column {d.name!r}: {d.why}" for d in found.decisions if d.is_loud]
    left = [c for c in found.contract.left_out if c.reason != "dropped"]
    if left:
        names = ", ".join(f"{c.name} ({c.reason})" for c in left)
        texts.append(
            f"left out {len(left)} column{'s' if len(left) > 1 else ''}: {names}; to learn from "
            f"one, add it to processed.keep and delete {CONTRACT}"
        )
    rare = found.contract.target.rare
    if rare:
        texts.append(
            f"classes of fewer than processed.min_class_rows rows: {', '.join(map(str, rare))}; "
            "their rows are set aside"
        )
    return texts


def first(block: Processed, roles: Roles, engine: Engine) -> First:
    """Infer the contract and hold every row to it, reading the table once where that will do."""
    try:
        return guessed(block, roles, engine)
    except Surprise:
        found, survey = inferred(block, roles, engine)
        return First(found, survey, held(found.contract, block, engine))


def guessed(block: Processed, roles: Roles, engine: Engine) -> First:
    """What the first part suggests, where all rows keep it: then it is that of all.

    Raises
    ------
    Surprise
        Where one does not, or only all rows can tell: whether a whole number is a code, a date
        has hours, a text is a number, a column is left out.
    """
    parts = reader.parts(RAW, block)
    beginning = next(parts, None)
    if beginning is None or beginning.form != "csv" or next(parts, None) is None:
        raise Surprise
    try:
        survey = surveyor(block, roles)(beginning)
        found = suggested(survey, roles, block)
    except CairnError:
        raise Surprise from None
    if not all(is_plain(decision) for decision in found.decisions) or found.contract.target.rare:
        raise Surprise
    whole = Survey()

    def look(part: Held) -> None:
        nonlocal whole
        if len(part.problems):
            raise Surprise
        whole += profile.outline(part.rows)

    tally = held(found.contract, block, engine, look)
    return First(found, profile.extended(survey, whole), tally)


def is_plain(decision: Decision) -> bool:
    """Whether a decision about all rows can be made from the first of them."""
    column = decision.outcome
    return (
        isinstance(column, Column)
        and not decision.why
        and column.kind in {"number", "category", "boolean"}
        and not (column.unknown or column.markers)
    )


def inferred(block: Processed, roles: Roles, engine: Engine) -> tuple[Proposal, Survey]:
    """The contract that all rows suggest, and what is known of them."""
    survey = surveyed(block, roles, engine, [])
    texts: list[str] = []
    while more := [name for name in infer.mixed(survey, roles.target) if name not in texts]:
        # 7 in one part, x in another: both are texts, if they are as they were typed. A row that
        # is good only now may have a code in another column.
        texts += more
        survey = surveyed(block, roles, engine, texts)
    if not survey.rows:
        raise CairnError(EMPTY)
    if not survey.good:
        raise CairnError(
            f"{RAW}: no row is left: each lacks a target or has an infinite number; mend the source"
        )
    return suggested(survey, roles, block), survey


def suggested(survey: Survey, roles: Roles, block: Processed) -> Proposal:
    """The contract that a survey suggests; raises a CairnError where it suggests none."""
    knobs = Knobs(block.max_categories, roles.keep, roles.formats, block.decimal)
    return infer.propose(
        survey, roles, knobs, min_class_rows=block.min_class_rows, missing=block.missing
    )


def surveyor(
    block: Processed, roles: Roles, texts: Sequence[str] = ()
) -> Callable[[reader.Part], Survey]:
    """What profiles the columns of a part."""
    apart = [name for name in (roles.identifier, *roles.drop) if name]
    return partial(
        profile.survey, target=roles.target, texts=texts, apart=apart, missing=block.missing
    )


def surveyed(block: Processed, roles: Roles, engine: Engine, texts: list[str]) -> Survey:
    """What is known of all rows."""
    survey = Survey()
    with console.Progress("processed, inferring") as progress:
        for part in engine.map(surveyor(block, roles, texts), reader.parts(RAW, block)):
            survey += part
            progress.add(part.rows)
    return survey


def fits(contract: Contract, roles: Roles, block: Processed) -> None:
    """Raise a CairnError where params.yaml speaks of other columns than the contract."""
    problems = []
    if roles.target != contract.target.name:
        problems.append(
            f"processed.target: got {roles.target!r}, {CONTRACT} has {contract.target.name!r}"
        )
    if roles.identifier != contract.identifier:
        problems.append(
            f"processed.identifier: got {roles.identifier!r}, "
            f"{CONTRACT} has {contract.identifier!r}; "
            "change one of them"
        )
    problems += [
        f"processed.drop: {name} is in {CONTRACT}, too; take it out of one of them"
        for name in sorted({*roles.drop} & {*contract.names})
    ]
    left = {column.name for column in contract.left_out}
    problems += [
        f"processed.keep: {name} is left out by {CONTRACT}" for name in sorted(roles.keep & left)
    ]
    problems += [
        f"processed.formats: {name}: got {text!r}, {CONTRACT} has {contract.column(name).format!r}"
        for name, text in roles.formats.items()
        if name in contract.names and contract.column(name).format != text
    ]
    if block.missing is not None and contract.missing != tuple(block.missing):
        problems.append(f"processed.missing: {CONTRACT} has {contract.missing}")
    if problems:
        raise CairnError("\n       ".join([*problems, ANEW]))


def held(
    contract: Contract, block: Processed, engine: Engine, look: Callable[[Held], None] | None = None
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
    repeated = duplicates(contract, block, engine)
    tally, done = Tally(), 0
    hold = partial(validate.hold, contract=contract)
    with console.Progress("processed") as progress, parquet.Writer(PROCESSED) as writer:
        for part in engine.map(hold, reader.parts(RAW, block)):
            if look:
                look(part)
            again = repeated[done : done + len(part.rows)]
            done += len(part.rows)
            writer.write(part.rows.filter(pa.array(~again)) if again.any() else part.rows)
            tally.repeat(tally.rows + 1 + np.flatnonzero(part.good)[: len(again)][again])
            tally.add(part)
            progress.add(part.total)
        validate.lacks(contract, tally.columns)
        verdict(tally, block)
    return tally


def duplicates(contract: Contract, block: Processed, engine: Engine) -> NDArray[np.bool_]:
    """Which of the rows that keep the contract are the same as one before; none if nobody asks."""
    if block.duplicates == "keep":
        return np.empty(0, dtype=bool)
    hold = partial(_hashed, contract=contract)
    hashes = list(engine.map(hold, reader.parts(RAW, block)))
    return pd.Series(np.concatenate(hashes)).duplicated().to_numpy()


def _hashed(part: reader.Part, contract: Contract) -> NDArray[np.uint64]:
    return validate.hold(part, contract, hashed=True).hashes


def verdict(tally: Tally, block: Processed) -> None:
    """Raise a CairnError where there are no rows, none is left, or some are not to be there."""
    if not tally.rows:
        raise CairnError(EMPTY)
    broken = tally.counts.keys() - {REPEATED}
    place = CONTRACT if CONTRACT.exists() else "put the column into processed.drop"
    mend = f"mend the source, or {place}"
    if broken and block.bad_rows == "fail":
        raise CairnError(f"{tally.described()}; {mend}, or set processed.bad_rows: set_aside")
    if tally.broken > block.max_bad_rows * tally.rows and tally.aside < tally.rows:
        raise CairnError(
            f"{tally.described()}; more than processed.max_bad_rows ({block.max_bad_rows:g}) of "
            f"all rows break the contract; {mend}, or raise processed.max_bad_rows"
        )
    if REPEATED in tally.counts and block.duplicates == "fail":
        raise CairnError(
            f"{tally.described()}; mend the source, or set processed.duplicates: set_aside or keep"
        )
    if tally.aside == tally.rows:
        raise CairnError(f"no row is left: {tally.described()}")


def remarks(tally: Tally, contract: Contract, block: Processed) -> list[str]:
    """What people should know of a table that passed."""
    dropped = {reader.title(name).name for name in block.drop}
    texts = [
        f"column {name!r} is left out: it is neither in {CONTRACT} nor in processed.drop"
        for name in sorted(tally.columns - contract.headers.keys() - dropped)
    ]
    blanks = [text for text in tally.notes if text.endswith(validate.BLANKS)]
    if len(blanks) > 1:  # a line for each of many columns would hide the rest
        count = sum(tally.notes[text] for text in blanks)
        texts.append(f"blanks around {count:,} texts of {len(blanks)} columns taken off")
    texts += [
        f"column {text}, in {count:,} row{'s' if count > 1 else ''}"
        for text, count in tally.notes.items()
        if len(blanks) < 2 or text not in blanks  # noqa: PLR2004
    ]
    return [*texts, tally.described()] if tally.aside else texts


if __name__ == "__main__":
    console.run(main)
