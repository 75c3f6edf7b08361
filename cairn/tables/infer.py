"""The contract that a table suggests, and what people should know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from cairn.console import CairnError
from cairn.contract import NUMBERS, Column, Contract, Label, LeftOut, Target
from cairn.paths import RAW
from cairn.tables import texts
from cairn.tables.decide import (
    KINDS,
    ROWS,
    Decision,
    Knobs,
    copies,
    count,
    decide,
    described,
    figure,
    header,
    is_code,
    leave_copy,
    shown,
)
from cairn.tables.profile import Profile, Survey
from cairn.tables.validate import LEAST, MOST

RARE = 0.01  # of the rows: a class of more is not rare, however small the table
MOST_RARE = 0.1  # of the rows, that may be set aside for classes that are rare
MANY = 10  # classes that are whole numbers: more may be a number
SENTINELS = {-99.0, -999.0, -9999.0, -99999.0}
EXAMPLES = 3
WIDTH = 40
HEADINGS = ("column", "kind", "distinct", "missing", "examples", "decided")


@dataclass(frozen=True)
class Roles:
    """Which column is what, by their names.

    Attributes
    ----------
    target, identifier, drop, keep
        As params.yaml says.
    formats
        Column → how its numbers or dates are written.
    """

    target: str
    identifier: str | None = None
    drop: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()
    formats: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """A contract, and the decisions that led to it.

    Attributes
    ----------
    contract
        What the table suggests.
    decisions
        One of each column that is neither target nor identifier, in the table's order; one of
        the target where people should know of its labels.
    """

    contract: Contract
    decisions: tuple[Decision, ...] = field(default_factory=tuple)


def mixed(survey: Survey, target: str) -> list[str]:
    """Columns to read again as texts: their forms are of no one kind, or they are long codes."""
    return [
        name
        for name, profile in survey.columns.items()
        if profile.forms and (profile.forms not in KINDS or (is_code(profile) and name != target))
    ]


def propose(
    survey: Survey,
    roles: Roles,
    knobs: Knobs,
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
        A class of fewer rows is set aside, where it has less than RARE of all.
    missing
        Texts that stand for no value; None: the usual ones.

    Raises
    ------
    CairnError
        Where a person has to decide: each column, with the edits to paste.
    """
    apart = {roles.target, roles.identifier, *roles.drop}
    rest = {name: profile for name, profile in survey.columns.items() if name not in apart}
    decisions = {name: decide(name, profile, survey.good, knobs) for name, profile in rest.items()}
    for name, of in copies(rest, decisions).items():
        if name not in knobs.keep and survey.good >= ROWS:
            decisions[name] = leave_copy(name, rest[name], of)
    target, problems = _target(roles.target, survey, min_class_rows, knobs.max_categories)
    problems += [f"column {d.name!r}: {d.why}" for d in decisions.values() if d.outcome is None]
    columns = tuple(d.outcome for d in decisions.values() if isinstance(d.outcome, Column))
    if not columns and not problems:
        problems = [_nothing_left(roles.target, decisions.values())]
    if problems or target is None:
        raise CairnError("\n       ".join(problems))
    left = [
        LeftOut(name=name, header=header(name, survey.columns[name]), reason="dropped")
        for name in roles.drop
    ]
    left += [d.outcome for d in decisions.values() if isinstance(d.outcome, LeftOut)]
    contract = _contract(
        target=target,
        identifier=roles.identifier,
        identifier_header=roles.identifier
        and header(roles.identifier, survey.columns[roles.identifier]),
        missing=None if missing is None else tuple(missing),
        columns=columns,
        left_out=tuple(left),
    )
    labels = _absent_labels(roles.target, survey.columns[roles.target])
    return Proposal(contract, (*decisions.values(), *labels))


def _absent_labels(name: str, profile: Profile) -> list[Decision]:
    """What people should know of texts of the target that are taken for no label."""
    if not profile.absent:
        return []
    cells = ", ".join(f"{shown(text)} in {n:,}" for text, n in profile.absent.items())
    why = f'missing: {cells} rows; if that is a label, set processed.missing: [""]'
    return [Decision(name, None, why, is_loud=True)]


def _contract(**keys: Any) -> Contract:
    try:
        return Contract(**keys)
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["error"]
        raise CairnError(
            f"{RAW}: {reason} among columns, parts of dates and the target; rename one in the "
            "header, or add it to processed.drop"
        ) from None


def _nothing_left(target: str, decisions: Iterable[Decision]) -> str:
    """Why there is no column to learn from."""
    whys = "".join(f"\n         {decision.name}: {decision.why}" for decision in decisions)
    advice = "; name in processed.keep what is to stay" if whys else ""
    return f"{RAW}: no column is left beside the target {target!r}{advice}{whys}"


def _target(name: str, survey: Survey, min_rows: int, most: int) -> tuple[Target | None, list[str]]:
    """The target and its classes, or what is wrong with them."""
    profile = survey.columns[name]
    kind = KINDS.get(profile.forms)
    if profile.forms and kind in {None, "date"}:
        return None, [_no_class(name, profile)]
    markers = tuple(sorted(texts.VOID & profile.counts.keys())) if kind == "category" else ()
    counts = {label: n for label, n in profile.counts.items() if label not in markers}
    if kind in NUMBERS:
        if not all(LEAST <= value <= MOST and value % 1 == 0 for value in counts):
            return None, [_is_number(name, profile)]
        counts = {int(label): n for label, n in counts.items()}
    rare = _rare(counts, min_rows)
    classes: list[Label] = sorted(counts.keys() - set(rare))
    set_aside = sum(counts[label] for label in rare)
    if len(classes) > most or set_aside > MOST_RARE * sum(counts.values()):
        return None, [_too_many(name, profile, kind in NUMBERS, most)]
    if len(classes) < 2:  # noqa: PLR2004
        return None, [_too_few(name, classes, rare, min_rows)]
    target = Target(
        name=name,
        header=header(name, profile),
        classes=tuple(classes),
        rare=tuple(sorted(rare)),
        markers=markers,
    )
    return target, []


def _no_class(name: str, profile: Profile) -> str:
    return (
        f"target {name!r} has values that name no class ({described(profile.forms)}); Cairn "
        "predicts classes: whole numbers within 64 bits, texts or booleans; set processed.target"
    )


def _rare(counts: Mapping[Any, int], min_rows: int) -> list[Any]:
    """Labels of too few rows to be learned and tested."""
    total = sum(counts.values())
    return [label for label, n in counts.items() if n < min_rows and (n == 1 or n < RARE * total)]


def _is_number(name: str, profile: Profile) -> str:
    low, high = (figure(end) for end in (profile.low, profile.high) if end is not None)
    return (
        f"target {name!r} is a number: {count(profile)} different values, from {low} to "
        f"{high}. Cairn predicts classes and no numbers yet; make classes of it in the "
        "table, such as low and high, or set processed.target to a column of classes"
    )


def _too_many(name: str, profile: Profile, is_number: bool, most: int) -> str:  # noqa: FBT001
    if is_number:
        return _is_number(name, profile)
    return (
        f"target {name!r} has {count(profile)} different labels, most of them in few rows, such as "
        f"{', '.join(map(shown, list(profile.counts)[:EXAMPLES]))}; allowed: 2 to {most} classes "
        "(processed.max_categories); set processed.target"
    )


def _too_few(name: str, classes: Sequence[Label], rare: Sequence[Label], min_rows: int) -> str:
    if rare:
        labels = ", ".join(map(shown, rare[:EXAMPLES]))
        return (
            f"target {name!r} has {len(classes)} class of {min_rows} rows or more; others, such as "
            f"{labels}, have fewer (processed.min_class_rows); it needs two"
        )
    only = f"only the label {shown(classes[0])}" if classes else "no label"
    return f"target {name!r} has {only}; Cairn needs two classes; set processed.target"


def hints(contract: Contract, survey: Survey) -> list[str]:
    """What may mislead, and only a person can tell: spellings, sentinels, a number as target."""
    target = contract.target
    texts_ = {column.name: column.categories for column in contract.columns}
    found = [
        f"column {name!r}: {alike} differ only in case, and are categories of their own"
        for name, alike in ((name, _alike(values)) for name, values in texts_.items())
        if alike
    ]
    labels = _alike(target.classes)
    if labels:
        found.append(f"target {target.name!r}: {labels} differ only in case, and are classes apart")
    if len(target.classes) > MANY and type(target.classes[0]) is int:
        found.append(
            f"target {target.name!r} is a number of {len(target.classes)} values; each of them is "
            "a class, for Cairn predicts no numbers yet"
        )
    sentinels = ((column, _sentinel(survey.columns[column.name])) for column in contract.columns)
    found += [
        f"column {column.name!r}: {value:g} is its only value below 0; if it stands for no value, "
        f'add `markers: ["{value:g}"], missing: true` to its line in the contract'
        for column, value in sentinels
        if value is not None and column.kind in NUMBERS
    ]
    return found


def _alike(values: Iterable[Any]) -> str:
    """Texts that differ only in case, the first few; empty where none do."""
    by_folded: dict[str, list[str]] = {}
    for value in values:
        if isinstance(value, str):
            by_folded.setdefault(value.casefold(), []).append(value)
    alike = next((texts_ for texts_ in by_folded.values() if len(texts_) > 1), [])
    return " and ".join(map(shown, alike[:EXAMPLES]))


def _sentinel(profile: Profile) -> float | None:
    """The one negative number of a column, where it is one that people write for no value."""
    if profile.low not in SENTINELS or profile.is_capped or profile.is_partial:
        return None
    return profile.low if sum(value < 0 for value in profile.values) == 1 else None


def show(proposal: Proposal, survey: Survey) -> str:
    """All columns of the table, as a table for people: what they are, and what was decided."""
    roles = {proposal.contract.target.name: "target", proposal.contract.identifier: "identifier"}
    decisions = {decision.name: decision for decision in proposal.decisions}
    left = {column.name: column for column in proposal.contract.left_out}
    titles = {name: profile.header or name for name, profile in survey.columns.items()}
    alike = Counter(titles.values())
    rows = [
        (
            titles[name] if alike[titles[name]] == 1 else name,
            roles.get(name) or _kind(decisions.get(name), left.get(name)),
            count(profile) if profile.present else "0",
            _missing(profile, decisions.get(name), survey.good),
            _examples(profile),
            _decided(decisions.get(name), left.get(name)),
        )
        for name, profile in survey.columns.items()
    ]
    table = [HEADINGS, *(tuple(map(_short, row[:-1])) + row[-1:] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in table)
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _missing(profile: Profile, decision: Decision | None, rows: int) -> str:
    """The share of rows without a value, those with a marker for that among them."""
    column = decision.outcome if decision else None
    markers = column.markers if isinstance(column, Column) else ()
    absent = rows - profile.present + sum(profile.counts.get(text, 0) for text in markers)
    return f"{absent / rows:.1%}" if absent else ""


def _kind(decision: Decision | None, left: LeftOut | None) -> str:
    column = decision.outcome if decision else None
    if isinstance(column, Column):
        return f"{column.kind} ({column.unit})" if column.unit else column.kind
    return f"- {left.reason}" if left else ""


def _decided(decision: Decision | None, left: LeftOut | None) -> str:
    if decision:
        return decision.why
    return "left out: processed.drop names it" if left else ""


def _examples(profile: Profile) -> str:
    """A few values, the most frequent ones first where they were counted; of numbers the ends."""
    if profile.low is not None and profile.high is not None and not profile.counts:
        low, high = figure(profile.low), figure(profile.high)
        return low if low == high else f"{low} to {high}"
    values: list[Any] = sorted(profile.counts, key=lambda v: -profile.counts[v])
    values = values or sorted(profile.values, key=str)
    return ", ".join(shown(value) for value in values[:EXAMPLES])
