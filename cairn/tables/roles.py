"""Which column is the target, the identifier or left out: params.yaml against the table's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.params.processed import Processed
from cairn.paths import CONTRACT
from cairn.tables.header import title
from cairn.tables.part import Part

LISTED = 100  # columns in an error
NEW_CONTRACT = f"if this is another table, delete {CONTRACT} and run `dvc repro`, which writes one"


@dataclass(frozen=True)
class Roles:
    """Which column is what, by their names.

    Attributes
    ----------
    target, identifier, drop, keep
        As params.yaml has them.
    formats
        Column → how its numbers or dates are written.
    """

    target: str
    identifier: str | None = None
    drop: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()
    formats: Mapping[str, str] = field(default_factory=dict)


def read_roles(part: Part, params: Processed, *, has_contract: bool) -> Roles:
    """Find the columns that params.yaml names.

    Parameters
    ----------
    part
        The first of the table.
    has_contract
        Whether the contract says which columns there are, and not this part.

    Raises
    ------
    CairnError
        Where there is no such column, or one has two roles.
    """
    names = {heading.header.strip(): heading.name for heading in part.headings}
    if part.form == "jsonl" or has_contract:  # a later row may have more columns
        texts = (params.target, params.identifier, *params.drop, *params.keep, *params.formats)
        names = {**{text: title(text).name for text in texts if text}, **names}
    target = find_column(params.target, "processed.target", names)
    identifier = params.identifier and find_column(params.identifier, "processed.identifier", names)
    drop = tuple(dict.fromkeys(find_column(text, "processed.drop", names) for text in params.drop))
    keep = frozenset(find_column(text, "processed.keep", names) for text in params.keep)
    formats = {
        find_column(text, "processed.formats", names): form for text, form in params.formats.items()
    }
    roles = Roles(target, identifier, drop, keep, formats)
    _check_overlaps(roles)
    return roles


def check_names(params: Processed, names: Mapping[str, str]) -> None:
    """Raise a CairnError where params.yaml names a column that no row has.

    Parameters
    ----------
    names
        Header → name, of all columns that any row has.
    """
    for key, texts in (
        ("target", [params.target]),
        ("identifier", [params.identifier] if params.identifier else []),
        ("drop", params.drop),
        ("keep", params.keep),
        ("formats", list(params.formats)),
    ):
        for text in texts:
            find_column(text, f"processed.{key}", names)


def _check_overlaps(roles: Roles) -> None:
    """Raise a CairnError where a column has two roles."""
    if roles.identifier == roles.target:
        raise CairnError(
            f"processed.identifier: got {roles.identifier!r}, which is the target; name another "
            "column, or null"
        )
    for key, others in (
        ("processed.identifier", {roles.identifier}),
        ("processed.target", {roles.target}),
        ("processed.keep", roles.keep),
    ):
        both = sorted({*roles.drop} & others)
        if both:
            raise CairnError(
                f"processed.drop: got {', '.join(map(repr, both))}, which {key} names as well; "
                "remove it from one of them"
            )


def find_column(text: str, key: str, names: Mapping[str, str]) -> str:
    """Find a column by its name or header.

    Parameters
    ----------
    key
        The key of params.yaml that has the text, for the error.
    names
        Header → name.

    Raises
    ------
    CairnError
        Where there is none: the columns, and the one that the text is most like.
    """
    if text.strip() in names:
        return names[text.strip()]
    for name in (text, title(text).name):
        if name in names.values():
            return name
    close = get_close_matches(text, [*names, *names.values()], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = [header or name for header, name in names.items()]
    more = f" and {len(listed) - LISTED:,} more" if len(listed) > LISTED else ""
    raise CairnError(
        f"{key}: got {text!r}{hint}; the columns are {', '.join(listed[:LISTED])}{more}"
    )


def check_roles(contract: Contract, roles: Roles, params: Processed) -> None:
    """Raise a CairnError where params.yaml and the contract disagree."""
    problems = []
    if roles.target != contract.target.name:
        problems.append(
            f"processed.target: got {roles.target!r}, but {CONTRACT} has {contract.target.name!r}"
        )
    if roles.identifier != contract.identifier:
        problems.append(
            f"processed.identifier: got {roles.identifier!r}, but {CONTRACT} has "
            f"{contract.identifier!r}; change one of them"
        )
    problems += [
        f"processed.drop: {name!r} is also in {CONTRACT}; remove it from one of them"
        for name in sorted({*roles.drop} & {*contract.names})
    ]
    left_out = {column.name for column in contract.left_out}
    problems += [
        f"processed.keep: {CONTRACT} leaves out {name!r}" for name in sorted(roles.keep & left_out)
    ]
    problems += [
        f"processed.formats: {name}: got {form!r}, but {CONTRACT} has "
        f"{contract.column(name).format!r}"
        for name, form in roles.formats.items()
        if name in contract.names and contract.column(name).format != form
    ]
    if params.missing is not None and contract.missing != tuple(params.missing):
        problems.append(
            f"processed.missing: got {params.missing}, but {CONTRACT} has {contract.missing}"
        )
    if problems:
        raise CairnError("\n       ".join([*problems, NEW_CONTRACT]))
