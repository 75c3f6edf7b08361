"""The Bento's version: made from what is in it, not from the clock."""

from __future__ import annotations

import hashlib
from pathlib import Path

import yaml
from bentoml import Tag

from service.model import served_tag

BENTOFILE = Path("bentofile.yaml")
NAME = "cairn"
HEX = 12


def main() -> None:
    """Print the tag that a Bento of this folder has."""
    print(f"{NAME}:{bento_version(served_tag())}")


def bento_version(model: str) -> str:
    """The version of a Bento of this model and of the code in the current folder.

    Parameters
    ----------
    model
        The model's tag, NAME:<hex>.

    Returns
    -------
    str
        The model's hex, `-`, and 12 hex of the SHA-256 of every file that the Bento is made of.
    """
    content = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
    named = (content["python"]["requirements_txt"], content["docker"]["dockerfile_template"])
    included = (path for glob in content["include"] for path in Path().glob(glob.lstrip("/")))
    whole = hashlib.sha256()
    for path in sorted({BENTOFILE, *map(Path, named), *included}):
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n".encode())
    return f"{model.partition(':')[2]}-{whole.hexdigest()[:HEX]}"


def pin(model: str) -> None:
    """Have `bentoml build` give our Bentos that version.

    BentoML 1.4 takes a version on its command line only, and makes one of the clock otherwise;
    a plain `bentoml build` should say the same as `make bento`.
    """
    by_clock = Tag.make_new_version

    def make_new_version(self: Tag) -> Tag:
        return Tag(NAME, bento_version(model)) if self.name == NAME else by_clock(self)

    Tag.make_new_version = make_new_version  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
