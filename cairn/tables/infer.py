"""The contract that a table suggests, and what people should know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from cairn.contract import NUMBERS, Column, Contract, Label, LeftOut, Target
from cairn.errors import CairnError
from cairn.paths import RAW
from cairn.tables import texts
from cairn.tables.conversion import LEAST, MOST
from cairn.tables.decide import (
    KINDS,
    ROWS,
    Decision,
    Options,
    count_distinct,
    decide,
    describe_forms,
    describe_missing,
    find_copies,
    find_header,
    find_mark,
    format_number,
    is_code,
    leave_out_copy,
    may_be_thousands,
    shorten,
)
from cairn.tables.profile import Profile, Survey
from cairn.tables.roles import Roles

RARE = 0.01  # of the rows: a class of more is not rare, however small the table
MOST_RARE = 0.1  # of the rows, that may be set aside for classes that are rare
MANY = 10  # classes that are whole numbers: a target with more may be a number
SENTINELS = {-99.0, -999.0, -9999.0, -99999.0}
EXAMPLES = 3
WIDTH = 40
HEADINGS = ("column", "kind", "distinct", "missing", "examples", "decided")


@dataclass(frozen=True)
class Proposal:
    """The contract that a table suggests, and the decisions that led to it.

    Attributes
    ----------
    contract
        The contract.
    decisions
        One for each column that is neither target nor identifier, in the table's order; and one
        for the target where people should know about its labels.
    """

    contract: Contract
    decisions: tuple[Decision, ...] = ()


def find_mixed(survey: Survey, target: str, delimiter: str = ",") -> list[str]:
    """Find columns to read again as texts: of mixed forms, long codes, and thousands in doubt."""
    mixed = [
        name
        for name, profile in survey.columns.items()
        if profile.forms and (profile.forms not in KINDS or (is_code(profile) and name != target))
    ]
    doubtful = [name for name, profile in survey.columns.items() if may_be_thousands(profile)]
    if not doubtful:
        return mixed
    mark = find_mark(survey.columns.values(), delimiter)
    return [*mixed, *doubtful] if mark == "," or (mark is None and delimiter == ";") else mixed


def propose(
    survey: Survey,
    roles: Roles,
    options: Options,
    *,
    min_class_rows: int = 1,
    missing: Sequence[str] | None = None,
) -> Proposal:
    """Propose the contract of a table.

    Parameters
    ----------
    survey
        The survey of all of it.
    min_class_rows
        A class with fewer rows is set aside, if it has less than RARE of all rows.
    missing
        Texts that stand for no value; None: the usual ones.

    Raises
    ------
    CairnError
        Where a person has to decide: each column, with the edits to paste.
    """
    options = replace(options, mark=find_mark(survey.columns.values(), options.delimiter))
    unused = {roles.target, roles.identifier, *roles.drop}
    rest = {name: profile for name, profile in survey.columns.items() if name not in unused}
    decisions = {
        name: decide(name, profile, survey.good, options) for name, profile in rest.items()
    }
    for name, of in find_copies(rest, decisions).items():
        if name not in options.keep and survey.good >= ROWS:
            decisions[name] = leave_out_copy(name, rest[name], of)
    target, problems = _propose_target(roles.target, survey, min_class_rows, options.max_categories)
    problems += [f"column {d.name!r}: {d.why}" for d in decisions.values() if d.outcome is None]
    columns = tuple(d.outcome for d in decisions.values() if isinstance(d.outcome, Column))
    if not columns and not problems:
        problems = [_explain_no_column(roles.target, decisions.values())]
    if problems or target is None:
        raise CairnError("\n       ".join(problems))
    left_out = [
        LeftOut(name=name, header=find_header(name, survey.columns[name]), reason="dropped")
        for name in roles.drop
    ]
    left_out += [d.outcome for d in decisions.values() if isinstance(d.outcome, LeftOut)]
    contract = _make_contract(
        target=target,
        identifier=roles.identifier,
        identifier_header=roles.identifier
        and find_header(roles.identifier, survey.columns[roles.identifier]),
        missing=None if missing is None else tuple(missing),
        columns=columns,
        left_out=tuple(left_out),
    )
    labels = _explain_absent_labels(roles.target, survey.columns[roles.target])
    return Proposal(contract, (*decisions.values(), *labels))


def _explain_absent_labels(name: str, profile: Profile) -> list[Decision]:
    """Explain which texts of the target are read as a missing label."""
    if not profile.absent:
        return []
    why = f'{describe_missing(profile.absent)}; if it is a label, set processed.missing: [""]'
    return [Decision(name, None, why, is_loud=True)]


def _make_contract(**keys: Any) -> Contract:
    try:
        return Contract(**keys)
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["error"]
        raise CairnError(
            f"{RAW}: {reason} among the columns, the parts of dates and the target; rename one in "
            "the header, or add it to processed.drop"
        ) from None


def _explain_no_column(target: str, decisions: Iterable[Decision]) -> str:
    """Explain why there is no column to learn from."""
    whys = "".join(f"\n         {decision.name}: {decision.why}" for decision in decisions)
    advice = "; to use a column all the same, add it to processed.keep" if whys else ""
    return f"{RAW}: no column is left besides the target {target!r}{advice}{whys}"


def _propose_target(
    name: str, survey: Survey, min_rows: int, most: int
) -> tuple[Target | None, list[str]]:
    """Propose the target and its classes, or list what is wrong with them."""
    profile = survey.columns[name]
    kind = KINDS.get(profile.forms)
    if profile.forms and kind in {None, "date"}:
        return None, [_explain_no_class(name, profile)]
    markers = tuple(sorted(texts.VOID & profile.counts.keys())) if kind == "category" else ()
    counts = {label: n for label, n in profile.counts.items() if label not in markers}
    if kind in NUMBERS:
        if not all(LEAST <= value <= MOST and value % 1 == 0 for value in counts):
            return None, [_explain_number(name, profile)]
        counts = {int(label): n for label, n in counts.items()}
    rare = _find_rare(counts, min_rows)
    classes: list[Label] = sorted(counts.keys() - set(rare))
    set_aside = sum(counts[label] for label in rare)
    if len(classes) > most or set_aside > MOST_RARE * sum(counts.values()):
        return None, [_explain_many(name, profile, kind in NUMBERS, most)]
    if len(classes) < 2:  # noqa: PLR2004
        return None, [_explain_few(name, classes, rare, min_rows)]
    target = Target(
        name=name,
        header=find_header(name, profile),
        classes=tuple(classes),
        rare=tuple(sorted(rare)),
        markers=markers,
    )
    return target, []


def _explain_no_class(name: str, profile: Profile) -> str:
    return (
        f"target {name!r} has values that cannot be classes ({describe_forms(profile.forms)}); a "
        "class is a whole number within 64 bits, a text or a boolean; set processed.target to "
        "another column"
    )


def _find_rare(counts: Mapping[Any, int], min_rows: int) -> list[Any]:
    """Find labels with too few rows to be learned and tested."""
    total = sum(counts.values())
    return [label for label, n in counts.items() if n < min_rows and (n == 1 or n < RARE * total)]


def _explain_number(name: str, profile: Profile) -> str:
    values = [shorten(text) for text in list(profile.counts)[:EXAMPLES] if isinstance(text, str)]
    ends = [format_number(end) for end in (profile.low, profile.high) if end is not None]
    examples = f"such as {', '.join(values)}" if values else f"from {' to '.join(ends)}"
    return (
        f"target {name!r} is a number: {count_distinct(profile)} different values, {examples}. "
        "Cairn predicts classes, and not numbers yet; turn it into classes in the table, such as "
        "low and high, or set processed.target to a column of classes"
    )


def _explain_many(name: str, profile: Profile, is_number: bool, most: int) -> str:  # noqa: FBT001
    if is_number or texts.guess_numbers(profile.counts):
        return _explain_number(name, profile)
    examples = ", ".join(map(shorten, list(profile.counts)[:EXAMPLES]))
    return (
        f"target {name!r} has {count_distinct(profile)} different labels, most of them in few "
        f"rows, such as {examples}; allowed: 2 to {most} classes (processed.max_categories); set "
        "processed.target to another column"
    )


def _explain_few(name: str, classes: Sequence[Label], rare: Sequence[Label], min_rows: int) -> str:
    if rare:
        labels = ", ".join(map(shorten, rare[:EXAMPLES]))
        return (
            f"target {name!r} has {len(classes)} class{'' if len(classes) == 1 else 'es'} with "
            f"{min_rows} rows or more (processed.min_class_rows); others, such as {labels}, have "
            "fewer. Cairn needs two classes: add rows, or lower processed.min_class_rows"
        )
    only = f"only the label {shorten(classes[0])}" if classes else "no label"
    return (
        f"target {name!r} has {only}; Cairn needs two classes; set processed.target to another "
        "column"
    )


def hint(contract: Contract, survey: Survey) -> list[str]:
    """Hint at what only a person can tell: spellings, sentinels, a number as target."""
    target = contract.target
    categories = {column.name: column.categories for column in contract.columns}
    hints = [
        f"column {name!r}: {alike} differ only in case; they are separate categories"
        for name, alike in ((name, _list_alike(values)) for name, values in categories.items())
        if alike
    ]
    labels = _list_alike(target.classes)
    if labels:
        hints.append(
            f"target {target.name!r}: {labels} differ only in case; they are separate classes"
        )
    if len(target.classes) > MANY and type(target.classes[0]) is int:
        hints.append(
            f"target {target.name!r} has {len(target.classes)} whole numbers; each is a class, "
            "because Cairn does not predict numbers yet"
        )
    sentinels = (
        (column, _find_sentinel(survey.columns[column.name])) for column in contract.columns
    )
    hints += [
        f"column {column.name!r}: {value:g} is its only value below 0; if it stands for a missing "
        f'value, add `markers: ["{value:g}"], missing: true` to its line in the contract'
        for column, value in sentinels
        if value is not None and column.kind in NUMBERS
    ]
    return hints


def _list_alike(values: Iterable[Any]) -> str:
    """List texts that differ only in case, the first few; empty where none do."""
    by_folded: dict[str, list[str]] = {}
    for value in values:
        if isinstance(value, str):
            by_folded.setdefault(value.casefold(), []).append(value)
    alike = next((texts_ for texts_ in by_folded.values() if len(texts_) > 1), [])
    return " and ".join(map(shorten, alike[:EXAMPLES]))


def _find_sentinel(profile: Profile) -> float | None:
    """Find the one negative number of a column, if people write it for a missing value."""
    if profile.low not in SENTINELS or profile.is_capped or profile.is_partial:
        return None
    return profile.low if sum(value < 0 for value in profile.values) == 1 else None


def format_decisions(proposal: Proposal, survey: Survey) -> str:
    """Format a table of all columns for people: what they are, and what was decided."""
    roles = {proposal.contract.target.name: "target", proposal.contract.identifier: "identifier"}
    decisions = {decision.name: decision for decision in proposal.decisions}
    left_out = {column.name: column for column in proposal.contract.left_out}
    titles = {
        name: " ".join((profile.header or "").split()) or name
        for name, profile in survey.columns.items()
    }
    alike = Counter(titles.values())
    rows = [
        (
            titles[name] if alike[titles[name]] == 1 else name,
            roles.get(name) or _format_kind(decisions.get(name), left_out.get(name)),
            count_distinct(profile) if profile.present else "0",
            _format_missing(profile, decisions.get(name), survey.good),
            _format_examples(profile),
            _format_decision(decisions.get(name), left_out.get(name)),
        )
        for name, profile in survey.columns.items()
    ]
    table = [HEADINGS, *(tuple(map(_cut, row[:-1])) + row[-1:] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
    return "\n".join(lines)


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _format_missing(profile: Profile, decision: Decision | None, rows: int) -> str:
    """Format the fraction of rows that have no value, or a marker for a missing one."""
    column = decision.outcome if decision else None
    markers = column.markers if isinstance(column, Column) else ()
    absent = rows - profile.present + sum(profile.counts.get(text, 0) for text in markers)
    return f"{absent / rows:.1%}" if absent else ""


def _format_kind(decision: Decision | None, left_out: LeftOut | None) -> str:
    column = decision.outcome if decision else None
    if isinstance(column, Column):
        return f"{column.kind} ({column.unit})" if column.unit else column.kind
    return f"- {left_out.reason}" if left_out else ""


def _format_decision(decision: Decision | None, left_out: LeftOut | None) -> str:
    if decision:
        return decision.why
    return "left out: processed.drop names it" if left_out else ""


def _format_examples(profile: Profile) -> str:
    """Format a few values, the most frequent first if they were counted; of numbers the range."""
    if profile.low is not None and profile.high is not None and not profile.counts:
        low, high = format_number(profile.low), format_number(profile.high)
        return low if low == high else f"{low} to {high}"
    values: list[Any] = sorted(profile.counts, key=lambda v: -profile.counts[v])
    values = values or sorted(profile.values, key=str)
    return ", ".join(shorten(value) for value in values[:EXAMPLES])
