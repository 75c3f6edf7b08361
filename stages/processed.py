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

from stages import compute, console, params, parquet
from stages.compute import Engine
from stages.console import CairnError, say
from stages.contract import Column, Contract
from stages.params import Processed
from stages.parsing import checks, contract_file, infer, profile, table
from stages.parsing.checks import REPEATED, Held, Tally
from stages.parsing.decide import Decision, Knobs
from stages.parsing.infer import Proposal, Roles
from stages.parsing.profile import Survey
from stages.paths import PROCESSED, RAW, REPORT, TERMS

ANEW = f"if this is another table, delete {TERMS} and run `dvc repro`, which makes a new one"

EMPTY = f"{RAW}: a header and no rows; it needs rows"


def main() -> None:
    """Turn data/raw into data/processed."""
    knobs = params.load()
    block = knobs.processed
    PROCESSED.parent.mkdir(parents=True, exist_ok=True)
    with compute.engine(knobs.compute) as engine:
        notes, roles = beginning(block)
        for text in notes:
            say(f"processed: {text}")
        if TERMS.exists():
            terms = contract_file.read(TERMS)
            fits(terms, roles, block)
            tally = held(terms, block, engine)
        else:
            say(f"processed: no {TERMS} yet; inferring one from {RAW}")
            found, survey, tally = first(block, roles, engine)
            terms = found.contract
            say(f"\n{infer.show(found, survey)}\n")
            say(f"target {terms.target.name}: {', '.join(map(str, terms.target.classes))}\n")
            contract_file.write(terms, TERMS)  # now that the rows keep it
            for text in (*loud(found), *infer.hints(terms, survey)):
                say(f"processed: {text}")
            say(f"processed: wrote {TERMS}; read it, edit it, commit it")
    for text in remarks(tally, terms, block):
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
    with closing(table.parts(RAW, block)) as parts:  # type: ignore[type-var]
        part = next(parts, None)
    if part is None:
        raise CairnError(EMPTY)
    names = {heading.header.strip(): heading.name for heading in part.headings}
    if part.form == "jsonl" or TERMS.exists():  # a later row may have more; the contract says it
        wanted = (block.target, block.identifier, *block.drop, *block.keep, *block.formats)
        names = {**{text: table.title(text).name for text in wanted if text}, **names}
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
    for name in (text, table.title(text).name):
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
            f"one, add it to processed.keep and delete {TERMS}"
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
    parts = table.parts(RAW, block)
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
) -> Callable[[table.Part], Survey]:
    """What profiles the columns of a part."""
    apart = [name for name in (roles.identifier, *roles.drop) if name]
    return partial(
        profile.survey, target=roles.target, texts=texts, apart=apart, missing=block.missing
    )


def surveyed(block: Processed, roles: Roles, engine: Engine, texts: list[str]) -> Survey:
    """What is known of all rows."""
    survey = Survey()
    with console.Progress("processed, inferring") as progress:
        for part in engine.map(surveyor(block, roles, texts), table.parts(RAW, block)):
            survey += part
            progress.add(part.rows)
    return survey


def fits(terms: Contract, roles: Roles, block: Processed) -> None:
    """Raise a CairnError where params.yaml speaks of other columns than the contract."""
    problems = []
    if roles.target != terms.target.name:
        problems.append(
            f"processed.target: got {roles.target!r}, {TERMS} has {terms.target.name!r}"
        )
    if roles.identifier != terms.identifier:
        problems.append(
            f"processed.identifier: got {roles.identifier!r}, {TERMS} has {terms.identifier!r}; "
            "change one of them"
        )
    problems += [
        f"processed.drop: {name} is in {TERMS}, too; take it out of one of them"
        for name in sorted({*roles.drop} & {*terms.names})
    ]
    left = {column.name for column in terms.left_out}
    problems += [
        f"processed.keep: {name} is left out by {TERMS}" for name in sorted(roles.keep & left)
    ]
    problems += [
        f"processed.formats: {name}: got {text!r}, {TERMS} has {terms.column(name).format!r}"
        for name, text in roles.formats.items()
        if name in terms.names and terms.column(name).format != text
    ]
    if block.missing is not None and terms.missing != tuple(block.missing):
        problems.append(f"processed.missing: {TERMS} has {terms.missing}")
    if problems:
        raise CairnError("\n       ".join([*problems, ANEW]))


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
    mend = (
        f"mend the source, or {TERMS if TERMS.exists() else 'put the column into processed.drop'}"
    )
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


def remarks(tally: Tally, terms: Contract, block: Processed) -> list[str]:
    """What people should know of a table that passed."""
    dropped = {table.title(name).name for name in block.drop}
    texts = [
        f"column {name!r} is left out: it is neither in {TERMS} nor in processed.drop"
        for name in sorted(tally.columns - terms.headers.keys() - dropped)
    ]
    blanks = [text for text in tally.notes if text.endswith(checks.BLANKS)]
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
