from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import yaml
from bentoml._internal.models import ModelStore

from service.model import chain, served_tag
from stages import identity, register
from stages.paths import MODEL, ONNX
from tests import small

ROOT = Path(__file__).resolve().parents[2]
CALL = "from service.model import served_tag; print(served_tag())"

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A project with a model that its dvc.lock names, and an empty store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    small.save(MODEL)
    outs = [
        {"path": path.as_posix(), "md5": hashlib.md5(path.read_bytes()).hexdigest()}  # noqa: S324
        for path in identity.FILES
    ]
    trained = {"outs": outs, "params": {"params.yaml": {"train": {"name": "small"}}}}
    raw = {"params": {"params.yaml": {"raw": {"source": "t.csv", "sha256": None}}}}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"raw": raw, "train": trained}}))
    with small.store(tmp_path / "bentoml") as own:
        yield own


def ended() -> str:
    """The line with which the process ends."""
    with pytest.raises(SystemExit) as exited:
        served_tag()
    line = str(exited.value.code)
    assert line.startswith("error: ")
    assert len(line.splitlines()) == 1
    return line


def test_the_model_that_dvc_lock_names_is_registered_and_served(store: ModelStore) -> None:
    tag = served_tag()
    assert tag == f"small:{identity.sha256(MODEL)[:12]}"
    assert [str(model.tag) for model in store.list()] == [tag]
    assert served_tag() == tag


def test_the_chain_is_read_back_as_it_was_registered(store: ModelStore) -> None:
    train = {"name": "small", "arguments": {"max_depth": None, "class_weight": {0: 1, 1: 2.5}}}
    put = identity.fresh(train)
    stored = store.get(register.register(put))
    found = chain(stored.info.metadata)
    weights = {"0": 1, "1": 2.5}  # a key of JSON is a text
    arguments = {"max_depth": None, "class_weight": weights}
    assert found == {
        **put,
        "params": {
            "raw": {"source": "t.csv", "sha256": None},
            "train": {"name": "small", "arguments": arguments},
        },
    }
    assert orjson.loads(orjson.dumps(found)) == found


def test_a_missing_model_ends_the_process_with_what_brings_it(store: ModelStore) -> None:
    shutil.rmtree(MODEL)
    assert "run `dvc repro` to train one, or `dvc pull` to fetch it" in ended()
    assert store.list() == []


def test_another_model_than_dvc_lock_names_is_not_served(store: ModelStore) -> None:
    ONNX.write_bytes(b"other")
    assert "is not the one that dvc.lock names: run `dvc checkout`" in ended()
    assert store.list() == []


@pytest.mark.usefixtures("store")
def test_a_bento_serves_the_model_that_it_was_built_with(tmp_path: Path) -> None:
    source = tmp_path / "bento" / "src"
    included = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    for path in (path for glob in included for path in ROOT.glob(glob.lstrip("/"))):
        into = source / path.relative_to(ROOT)
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into)
    built = {"services": [{"name": "cairn", "models": [{"tag": "small:feed"}]}]}
    (tmp_path / "bento" / "bento.yaml").write_text(yaml.safe_dump(built))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", CALL],
        cwd=source,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "small:feed\n"
