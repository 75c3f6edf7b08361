from __future__ import annotations

import json
from pathlib import Path

import pytest

from cairn.errors import CairnError
from cairn.paths import PICTURES
from service.http.errors import Refused
from service.inference import artifacts
from tests import small


def test_what_a_model_has_is_read(tmp_path: Path) -> None:
    actual = artifacts.read_artifacts(small.save(tmp_path / "model"))
    assert actual.describe() == {
        "evaluation": json.loads((tmp_path / "model" / "evaluation.json").read_text()),
        "card": True,
        "pictures": list(PICTURES),
    }
    reply = actual.reply_card()
    assert reply.body == (tmp_path / "model" / "card.md").read_bytes()
    assert dict(reply.headers)[b"content-type"] == b"text/markdown; charset=utf-8"
    picture = actual.reply_picture("/model/roc.png")
    assert picture.body == (tmp_path / "model" / "plots" / "roc.png").read_bytes()
    assert dict(picture.headers)[b"content-type"] == b"image/png"


def test_a_model_of_older_code_has_none_of_it(tmp_path: Path) -> None:
    actual = artifacts.read_artifacts(tmp_path)
    assert actual.describe() == {"evaluation": None, "card": False, "pictures": []}
    with pytest.raises(Refused, match="train it again") as no_card:
        actual.reply_card()
    with pytest.raises(Refused, match="train it again") as no_picture:
        actual.reply_picture("/model/search.png")
    assert no_card.value.status == no_picture.value.status == 404


def test_pictures_come_in_their_order_those_that_there_are(tmp_path: Path) -> None:
    model = small.save(tmp_path / "model")
    (model / "plots" / f"{PICTURES[1]}.png").unlink()
    (model / "plots" / "other.png").write_bytes(b"")
    assert list(artifacts.read_artifacts(model).pictures) == [PICTURES[0], *PICTURES[2:]]


@pytest.mark.parametrize(
    "path", ["/model", "/model/", "/model/other.png", "/model/../roc.png", "/roc.png", "/model/roc"]
)
def test_any_other_path_is_none_of_a_picture(path: str) -> None:
    assert path not in artifacts.PICTURE_PATHS


def test_an_evaluation_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(CairnError, match=r"evaluation\.json is not JSON"):
        artifacts.read_artifacts(tmp_path)
