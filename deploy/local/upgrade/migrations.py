"""What has moved in the files that are the user's, release by release.

A release that renames a key adds it here; a migration stays for good, so that one may come from any
release. Each does nothing to a file that has it behind itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.local.upgrade.errors import UpgradeError
from deploy.local.upgrade.keys import has_key, list_keys, move_key, rename_key

PARAMS = Path("params.yaml")


class Move(NamedTuple):
    """A key that has another name, or another place.

    Attributes
    ----------
    file
        In which of the user's files.
    old, new
        Keys from the top, joined by points; `*` is each item of a list. The new path is as long as
        the old one and differs in its last key, or has no `*`.
    """

    file: Path
    old: str
    new: str


MOVES: tuple[Move, ...] = (
    # 0.2.0: `evaluate` is a stage of its own.
    Move(PARAMS, "train.cross_validation", "evaluate.cross_validation"),
    Move(PARAMS, "train.slices", "evaluate.slices"),
)


class Migration(NamedTuple):
    """A file's text after its migration, and what to tell of it."""

    text: str
    notes: tuple[str, ...]


def migrate(text: str, moves: Iterable[Move]) -> Migration:
    r"""Rename and move the keys of a text; report one that must be moved by hand.

    Examples
    --------
    >>> migrate("a:\n  x: 1  # why\n", [Move(Path("params.yaml"), "a.x", "a.y")])
    Migration(text='a:\n  y: 1  # why\n', notes=('params.yaml: renamed a.x to a.y',))
    """
    notes = []
    for move in moves:
        old, new = move.old.split("."), move.new.split(".")
        if not has_key(text, old):
            continue
        try:
            after = (rename_key(text, old, new[-1]) if old[:-1] == new[:-1]
                     else move_key(text, old, new))  # fmt: skip
        except UpgradeError as error:
            notes.append(f"{move.file}: {error}")
            continue
        if after == text:
            notes.append(
                f"{move.file}: {move.old} is now {move.new}, and your file has both; delete "
                "the old one"
            )
        else:
            verb = "renamed" if old[:-1] == new[:-1] else "moved"
            notes.append(f"{move.file}: {verb} {move.old} to {move.new}")
        text = after
    return Migration(text, tuple(notes))


def find_new_keys(release_params: str, user_params: str) -> list[str]:
    r"""List the keys of the params.yaml that a release ships and the user's lacks.

    Only those of the first two levels, and not those below a key that is new itself.

    Examples
    --------
    >>> find_new_keys("a: {x: 1, y: 2}\nb: {z: 3}\n", "a: {x: 5}\n")
    ['b', 'a.y']
    """
    there = set(list_keys(user_params))
    new = [key for key in list_keys(release_params) if key not in there]
    return [key for key in new if key.rpartition(".")[0] not in new]


def add_sections(release_params: str, user_params: str) -> Migration:
    r"""Add the sections that a release's params.yaml has and the user's lacks, for DVC wants each.

    Examples
    --------
    >>> print(add_sections("a: {x: 1}\nb: {z: 3}\n", "a: {x: 5}").text)
    a: {x: 5}
    <BLANKLINE>
    b: {}
    <BLANKLINE>
    """
    there = list_keys(user_params, depth=1)
    new = [key for key in list_keys(release_params, depth=1) if key not in there]
    end = "" if user_params.endswith("\n") else "\n"
    text = user_params + end + "".join(f"\n{key}: {{}}\n" for key in new) if new else user_params
    return Migration(text, tuple(f"{PARAMS}: added the new section {key}" for key in new))


def read_text(file: Path) -> str:
    """Read a file of the user's, its line ends as they are.

    Raises
    ------
    UpgradeError
        Where it is not there, or is no YAML.
    """
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            text = stream.read()
        list_keys(text)
    except FileNotFoundError:
        raise UpgradeError(f"there is no {file} here; run this in your repository") from None
    except (UnicodeDecodeError, UpgradeError) as error:
        raise UpgradeError(f"{file}: {error}; fix it, commit it, and run this again") from None
    return text


def check_files(moves: Sequence[Move] = MOVES) -> None:
    """Raise an UpgradeError where a file that may have to be migrated cannot be read."""
    for file in {PARAMS, *(move.file for move in moves if move.file.is_file())}:
        read_text(file)


def migrate_files(release_params: str, moves: Sequence[Move] = MOVES) -> list[str]:
    """Migrate the user's files in the current folder.

    Parameters
    ----------
    release_params
        The release's params.yaml.
    moves
        What has moved, the earliest first.

    Returns
    -------
    list of str
        What to tell of it.
    """
    notes: list[str] = []
    for file in sorted({PARAMS, *(move.file for move in moves)}):
        if not file.is_file():
            continue
        text = read_text(file)
        migration = migrate(text, [move for move in moves if move.file == file])
        result = (
            add_sections(release_params, migration.text)
            if file == PARAMS
            else Migration(migration.text, ())
        )
        if result.text != text:
            file.write_text(result.text, encoding="utf-8", newline="")
        notes += [*migration.notes, *result.notes]
    return notes
