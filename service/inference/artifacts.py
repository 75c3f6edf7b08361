"""What a model has for people: its evaluation, its card and its pictures, read once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from cairn.errors import CairnError
from cairn.paths import CARD, EVALUATION, PICTURES, PLOTS
from service.http.asgi import Header, Reply
from service.http.errors import Refused

MODEL = "/model"
# Path → the picture's stem; the second is where the card, as it is served, has its pictures.
PICTURE_PATHS = {
    f"{MODEL}/{folder}{stem}.png": stem for stem in PICTURES for folder in ("", f"{PLOTS.name}/")
}
PLAIN: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
)


class Artifacts(NamedTuple):
    """What a model has for people; those made by older code have none of it.

    Attributes
    ----------
    evaluation
        Scores with their intervals, by class and by slice, as `evaluate` wrote them; None: none.
    card
        The model card, Markdown in UTF-8; None: none.
    pictures
        Stem → PNG, in the order of `cairn.paths.PICTURES`, those that there are.
    """

    evaluation: Any
    card: bytes | None
    pictures: Mapping[str, bytes]

    def describe(self) -> dict[str, Any]:
        """Return what `GET /model` has of it."""
        return {
            "evaluation": self.evaluation,
            "card": self.card is not None,
            "pictures": list(self.pictures),
        }

    def reply_card(self) -> Reply:
        """Return the model card.

        Raises
        ------
        Refused
            404 where there is none.
        """
        if self.card is None:
            raise _refuse_missing("card")
        return Reply(200, self.card, ((b"content-type", b"text/markdown; charset=utf-8"), *PLAIN))

    def reply_picture(self, path: str) -> Reply:
        """Return the picture at one of PICTURE_PATHS.

        Raises
        ------
        Refused
            404 where the model has no such picture.
        """
        stem = PICTURE_PATHS[path]
        if stem not in self.pictures:
            raise _refuse_missing(f"picture {stem}.png")
        return Reply(200, self.pictures[stem], ((b"content-type", b"image/png"), *PLAIN))


NO_ARTIFACTS = Artifacts(None, None, {})


def read_artifacts(folder: Path) -> Artifacts:
    """Read what the model in a folder has for people.

    Raises
    ------
    CairnError
        Where its evaluation is not JSON.
    """
    evaluation = _read_bytes(folder / EVALUATION.name)
    pictures = {stem: _read_bytes(folder / PLOTS.name / f"{stem}.png") for stem in PICTURES}
    return Artifacts(
        _parse_json(evaluation, folder / EVALUATION.name) if evaluation is not None else None,
        _read_bytes(folder / CARD.name),
        {stem: content for stem, content in pictures.items() if content is not None},
    )


def _read_bytes(path: Path) -> bytes | None:
    """Return a file's content; None where there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _parse_json(content: bytes, path: Path) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise CairnError(f"{path} is not JSON: {error}; `dvc checkout` brings it back") from None


def _refuse_missing(what: str) -> Refused:
    return Refused(404, f"this model has no {what}; train it again with this code to get one")
