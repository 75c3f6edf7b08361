"""What a model has for people: its evaluation, its card and its pictures, read once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from cairn.console import CairnError
from cairn.paths import CARD, EVALUATION, PICTURES, PLOTS
from service.http.asgi import Header, Reply
from service.http.errors import Refused

MODEL = "/model"
MODEL_CARD = f"{MODEL}/card"
# Path → the picture's stem; the second is where the card, as it is served, has its pictures.
PICTURE_PATHS = {
    f"{MODEL}/{folder}{stem}.png": stem for stem in PICTURES for folder in ("", f"{PLOTS.name}/")
}
# All that says what the model is asks for the same key.
PATHS = (MODEL, MODEL_CARD, *PICTURE_PATHS)

PLAIN: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
)


class Shown(NamedTuple):
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
        """What `GET /model` says of it."""
        return {
            "evaluation": self.evaluation,
            "card": self.card is not None,
            "pictures": list(self.pictures),
        }

    def card_reply(self) -> Reply:
        """The model card.

        Raises
        ------
        Refused
            404 where there is none.
        """
        if self.card is None:
            raise _missing("card")
        return Reply(200, self.card, ((b"content-type", b"text/markdown; charset=utf-8"), *PLAIN))

    def picture_reply(self, path: str) -> Reply | None:
        """The picture at a path; None where the path is none of a picture.

        Raises
        ------
        Refused
            404 where the model has no such picture.
        """
        stem = PICTURE_PATHS.get(path)
        if stem is None:
            return None
        if stem not in self.pictures:
            raise _missing(f"picture {stem}.png")
        return Reply(200, self.pictures[stem], ((b"content-type", b"image/png"), *PLAIN))


NOTHING = Shown(None, None, {})


def read(folder: Path) -> Shown:
    """What the model in a folder has for people.

    Raises
    ------
    CairnError
        Where its evaluation is not JSON.
    """
    evaluation = _bytes(folder / EVALUATION.name)
    found = {stem: _bytes(folder / PLOTS.name / f"{stem}.png") for stem in PICTURES}
    return Shown(
        _json(evaluation, folder / EVALUATION.name) if evaluation is not None else None,
        _bytes(folder / CARD.name),
        {stem: content for stem, content in found.items() if content is not None},
    )


def _bytes(path: Path) -> bytes | None:
    """A file's content; None where there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _json(content: bytes, path: Path) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise CairnError(f"{path} is not JSON: {error}; `dvc checkout` brings it back") from None


def _missing(what: str) -> Refused:
    return Refused(404, f"this model has no {what}; train it anew with this code to have one")
