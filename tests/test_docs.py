"""The README says what is so."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from stages import params
from tests.conftest import ROOT, Project
from tests.serving import MALIGNANT, served
from tests.test_make import MAKEFILE

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_make_target_exists() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"run", "test", "verify", "image"} <= named
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in named)


def test_the_params_of_the_example_are_allowed() -> None:
    default = yaml.safe_load((ROOT / "params.yaml").read_text())
    [example] = blocks("yaml")
    changed = {name: {**default[name], **block} for name, block in yaml.safe_load(example).items()}
    params.Params.model_validate({**default, **changed})


@pytest.mark.slow
def test_the_curl_line_gets_the_answer_that_is_shown(project: Project) -> None:
    [line] = [text for text in blocks("console") if text.startswith("curl")]
    [shown] = blocks("json")
    words = shlex.split(line)
    with served(project) as client:
        sent = [word.replace("http://localhost:3000", str(client.base_url)) for word in words]
        answer = json.loads(project.run(*sent).stdout)
    assert json.loads(words[-1]) == {"features": MALIGNANT}
    assert re.fullmatch("cairn:[0-9a-f]{12}", answer["model_version"])
    masked = {**answer, "model_version": "cairn:MODEL", "request_id": "REQUEST"}
    assert masked == json.loads(shown)
