"""The first run on a table: infer the contract, and write the rows that keep it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cairn.compute.engine import Engine
from cairn.console import Progress
from cairn.contract import Column
from cairn.errors import CairnError
from cairn.params.processed import Processed
from cairn.paths import CONTRACT, RAW
from cairn.tables import infer, profile
from cairn.tables.decide import Decision, Options
from cairn.tables.infer import Proposal
from cairn.tables.part import Part
from cairn.tables.profile import Survey
from cairn.tables.reader import Table
from cairn.tables.roles import Roles, check_names
from cairn.tables.rows import DROP_COLUMN, NO_ROWS, write_rows
from cairn.tables.tally import Tally
from cairn.tables.validate import ValidPart


class FirstRun(NamedTuple):
    """The contract that a table suggests, what is known of its rows, and their problems."""

    proposal: Proposal
    survey: Survey
    tally: Tally


class _AnotherRest(Exception):
    """The rest of a table is not like its first part."""


def infer_and_write(table: Table, roles: Roles, path: Path, engine: Engine) -> FirstRun:
    """Infer the contract, and write the rows that keep it.

    A table that goes on as it begins is read once.

    Parameters
    ----------
    path
        Of the Parquet file.

    Raises
    ------
    CairnError
        Where a person has to decide, or as `write_rows`.
    """
    try:
        return infer_from_first_part(table, roles, path, engine)
    except _AnotherRest:
        proposal, survey = infer_from_all_rows(table, roles, engine)
        tally = write_rows(table, proposal.contract, path, engine, remedy=DROP_COLUMN)
        return FirstRun(proposal, survey, tally)


def infer_from_first_part(table: Table, roles: Roles, path: Path, engine: Engine) -> FirstRun:
    """Infer the contract from the first part: it is that of the table if all rows keep it.

    Raises
    ------
    _AnotherRest
        Where a row does not, or only all rows can tell: whether a whole number is a code, a date
        has hours, a text is a number, a column is left out.
    """
    if table.first.form != "csv":
        raise _AnotherRest
    try:
        survey = _make_surveyor(table.params, roles)(table.first)
        if infer.find_mixed(survey, roles.target, table.first.dialect.delimiter):
            raise _AnotherRest
        proposal = propose(survey, roles, table)
    except CairnError:
        raise _AnotherRest from None
    if not all(map(is_plain, proposal.decisions)) or proposal.contract.target.rare:
        raise _AnotherRest
    all_rows = Survey()

    def inspect(part: ValidPart) -> None:
        nonlocal all_rows
        if len(part.problems):
            raise _AnotherRest
        all_rows += profile.outline(part.rows)

    tally = write_rows(table, proposal.contract, path, engine, remedy=DROP_COLUMN, inspect=inspect)
    return FirstRun(proposal, profile.extend(survey, all_rows), tally)


def is_plain(decision: Decision) -> bool:
    """Tell whether a decision about all rows can be made from the first of them."""
    column = decision.outcome
    return (
        isinstance(column, Column)
        and not decision.why
        and column.kind in {"number", "category", "boolean"}
        and not (column.unknown or column.markers)
    )


def infer_from_all_rows(table: Table, roles: Roles, engine: Engine) -> tuple[Proposal, Survey]:
    """Infer the contract from all rows."""
    survey = survey_rows(table, roles, engine, [])
    texts: list[str] = []
    sign = table.first.dialect.delimiter
    while more := [n for n in infer.find_mixed(survey, roles.target, sign) if n not in texts]:
        # 7 in one part, x in another: both are texts, if they are as they were typed. A row that
        # is valid only now may have a code in another column.
        texts += more
        survey = survey_rows(table, roles, engine, texts)
    if not survey.rows:
        raise CairnError(NO_ROWS)
    check_names(table.params, {p.header or n: n for n, p in survey.columns.items()})
    if not survey.good:
        raise CairnError(
            f"{RAW}: no row is left, for each lacks a label or has an infinite number; fix the "
            "source"
        )
    return propose(survey, roles, table), survey


def propose(survey: Survey, roles: Roles, table: Table) -> Proposal:
    """Propose the contract that a survey suggests; raise a CairnError where it suggests none."""
    params = table.params
    options = Options(
        params.max_categories, roles.keep, roles.formats, params.decimal,
        delimiter=table.first.dialect.delimiter,
    )  # fmt: skip
    return infer.propose(
        survey, roles, options, min_class_rows=params.min_class_rows, missing=params.missing
    )


def _make_surveyor(
    params: Processed, roles: Roles, texts: Sequence[str] = ()
) -> Callable[[Part], Survey]:
    """Make the function that surveys a part."""
    unused = [name for name in (roles.identifier, *roles.drop) if name]
    return partial(
        profile.survey, target=roles.target, texts=texts, unused=unused, missing=params.missing
    )


def survey_rows(table: Table, roles: Roles, engine: Engine, texts: Sequence[str]) -> Survey:
    """Survey all rows, these columns as texts."""
    survey = Survey()
    with Progress("processed, inferring") as progress:
        for part in engine.map(_make_surveyor(table.params, roles, texts), table.parts()):
            survey += part
            progress.add(part.rows)
    return survey


def list_warnings(run: FirstRun) -> list[str]:
    """List the decisions that people should know beyond the table of columns."""
    contract = run.proposal.contract
    texts = [f"column {d.name!r}: {d.why}" for d in run.proposal.decisions if d.is_loud]
    left_out = [column for column in contract.left_out if column.reason != "dropped"]
    if left_out:
        names = ", ".join(f"{column.name} ({column.reason})" for column in left_out)
        texts.append(
            f"left out {len(left_out)} column{'s' if len(left_out) > 1 else ''}: {names}; to learn "
            f"from one, add it to processed.keep and delete {CONTRACT}"
        )
    if contract.target.rare:
        texts.append(
            "rows of classes with fewer than processed.min_class_rows rows are set aside: "
            f"{', '.join(map(str, contract.target.rare))}"
        )
    return [*texts, *infer.hint(contract, run.survey)]
