"""The Bento's version: made from what is in it, not from the clock."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import bentoml
import yaml
from bentoml import Tag
from bentoml._internal.bento.build_config import DockerOptions

from service import labels
from service.model import NAME, packed_tag

BENTOFILE = Path("bentofile.yaml")
HEX = 12


def main() -> None:
    """Print the tag that a Bento of this folder has."""
    print(f"{NAME}:{bento_version(packed_tag())}")


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
    whole = hashlib.sha256()
    for path in files():
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}\n".encode())
    return f"{model.partition(':')[2]}-{whole.hexdigest()[:HEX]}"


def files() -> tuple[Path, ...]:
    """Every file that a Bento is made of, beside the model."""
    content = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))
    named = (content["python"]["requirements_txt"], content["docker"]["dockerfile_template"])
    included = (path for glob in content["include"] for path in Path().glob(glob.lstrip("/")))
    return tuple(sorted({BENTOFILE, *map(Path, named), *included}))


def pin(model: str) -> None:
    """Have `bentoml build` give our Bentos that version, and their images labels.

    BentoML 1.4 takes a version on its command line only, and makes one of the clock otherwise;
    a plain `bentoml build` should say the same as `make bento`. It has no place for labels that
    are known only when it builds: they go into a file that the Dockerfile's template includes.
    """
    by_clock, write = Tag.make_new_version, DockerOptions.write_to_bento

    def make_new_version(self: Tag) -> Tag:
        return Tag(NAME, bento_version(model)) if self.name == NAME else by_clock(self)

    def write_to_bento(self: DockerOptions, folder: Path, *arguments: Any) -> None:
        write(self, folder, *arguments)
        chain = bentoml.models.get(model).info.metadata
        found = labels.labels(bento_version(model), model, chain, files())
        text = labels.instructions(found)
        (folder / "env" / "docker" / labels.INCLUDED).write_text(text, encoding="utf-8")

    Tag.make_new_version = make_new_version  # type: ignore[method-assign]
    DockerOptions.write_to_bento = write_to_bento  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
