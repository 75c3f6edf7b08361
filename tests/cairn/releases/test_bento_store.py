from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentoml
import orjson
import pytest
from bentoml._internal.models import ModelStore

from cairn import provenance
from cairn.paths import CARD, METRICS, MODEL, MODEL_CONTRACT, PICTURES, PLOTS
from cairn.provenance import Commit, Provenance
from cairn.releases import bento_store
from service.bento.store import parse_chain as read_chain
from tests import small

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A store of this test's own, and data/model beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    small.save_tree()
    with small.store(tmp_path / "bentoml") as own:
        yield own


def chain(commit: str = "a" * 40) -> Provenance:
    return replace(
        provenance.trace_new({"train": small.LINEAR.model_dump()}),
        git=Commit(commit, dirty=False),
        dvc={"raw": {"deps": {}, "outs": {"data/raw/table": "d" * 32}}},
    )


def tags(store: ModelStore) -> list[str]:
    return [str(entry.tag) for entry in store.list()]


def held(tag: str) -> dict[str, bytes]:
    folder = Path(bentoml.models.get(tag).path)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "model.yaml"
    }


def files() -> dict[str, bytes]:
    return {provenance.entry_name(path): path.read_bytes() for path in provenance.FILES}


def test_an_entry_is_tagged_by_its_content_and_holds_what_serves(store: ModelStore) -> None:
    tag = bento_store.register(chain())
    assert tag == f"small:{provenance.hash_entry(MODEL)[:12]}"
    assert tags(store) == [tag]
    assert held(tag) == files()


def test_an_entry_can_be_found_by_where_it_comes_from() -> None:
    info: Any = bentoml.models.get(bento_store.register(chain())).info
    assert info.labels == {"git_commit": "a" * 40, "data": "d" * 32}
    assert info.metadata["sha256"] == provenance.hash_entry(MODEL)
    assert info.metadata["git"] == {"commit": "a" * 40, "dirty": False}
    assert json.loads(info.metadata["params"])["train"] == small.LINEAR.model_dump()


def test_the_same_model_twice_is_one_entry_untouched(store: ModelStore) -> None:
    tag = bento_store.register(chain())
    folder = Path(bentoml.models.get(tag).path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert bento_store.register(chain()) == tag
    assert tags(store) == [tag]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_another_model_never_overwrites(store: ModelStore) -> None:
    one = bento_store.register(chain())
    before = held(one)
    MODEL_CONTRACT.write_bytes(MODEL_CONTRACT.read_bytes() + b" ")
    two = bento_store.register(chain())
    assert one != two
    assert sorted(tags(store)) == sorted([one, two])
    assert held(one) == before
    assert held(two) == files()


def test_metadata_follow_another_commit_and_the_content_does_not(store: ModelStore) -> None:
    tag = bento_store.register(chain("a" * 40))
    before = held(tag)
    assert bento_store.register(chain("b" * 40)) == tag
    entry: Any = bentoml.models.get(tag)
    assert entry.info.metadata["git"]["commit"] == "b" * 40
    assert entry.info.labels["git_commit"] == "b" * 40
    assert held(tag) == before
    assert tags(store) == [tag]


def test_a_new_card_replaces_the_old_one_under_the_same_tag(store: ModelStore) -> None:
    tag = bento_store.register(chain())
    folder = Path(bentoml.models.get(tag).path)
    graph = (folder / "model.onnx").stat()
    CARD.write_text("# another\n")
    METRICS.write_text('{"test": {"accuracy": 0.8}}')
    (PLOTS / f"{PICTURES[0]}.png").write_bytes(b"another")
    (folder / "plots" / "of_older_code.png").write_bytes(b"old")
    assert bento_store.register(chain()) == tag
    assert tags(store) == [tag]
    assert held(tag) == files()
    entry: Any = bentoml.models.get(tag)
    assert json.loads(entry.info.metadata["metrics"])["test"]["accuracy"] == 0.8
    assert entry.info.metadata["files_sha256"] == chain().files_sha256
    after = (folder / "model.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (graph.st_ino, graph.st_mtime_ns)


def test_an_update_that_was_cut_short_is_completed(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = bento_store.register(chain())
    CARD.write_text("# another\n")
    METRICS.write_text('{"test": {"accuracy": 0.8}}')

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    changed = chain()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(KeyboardInterrupt):
            bento_store.register(changed)
    assert bento_store.register(chain()) == tag
    assert held(tag) == files()
    assert tags(store) == [tag]


@pytest.mark.parametrize("name", list(map(provenance.entry_name, provenance.FILES)))
@pytest.mark.parametrize("damage", ["gone", "other"])
def test_a_damaged_entry_is_repaired(name: str, damage: str, store: ModelStore) -> None:
    tag = bento_store.register(chain())
    path = Path(bentoml.models.get(tag).path) / name
    path.unlink() if damage == "gone" else path.write_bytes(b"other")
    assert bento_store.register(chain()) == tag
    assert held(tag) == files()
    assert tags(store) == [tag]


@pytest.mark.parametrize("left", [None, "", "tag: [", "name: small"])
def test_an_entry_whose_description_was_cut_short_is_made_again(
    left: str | None, store: ModelStore
) -> None:
    tag = bento_store.register(chain())
    path = Path(bentoml.models.get(tag).path) / "model.yaml"
    path.unlink() if left is None else path.write_text(left)
    assert bento_store.register(chain()) == tag
    assert held(tag) == files()
    assert tags(store) == [tag]


def test_a_deleted_entry_comes_back_the_same() -> None:
    tag = bento_store.register(chain())
    before = held(tag)
    bentoml.models.delete(tag)
    assert bento_store.register(chain()) == tag
    assert held(tag) == before


def test_two_processes_at_once_make_one_entry(tmp_path: Path, store: ModelStore) -> None:
    params = {"train": small.LINEAR.model_dump()}
    call = (
        "from cairn import provenance; from cairn.releases import bento_store; "
        f"print(bento_store.register(provenance.trace_new({params!r})))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", call], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=600)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert printed == tags(store) * 2
    assert held(printed[0]) == files()


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_depth": None},
        {"hidden_layer_sizes": [10, 5]},
        {"class_weight": {0: 1.0, 1: 2.0}},
        {"class_weight": {True: 1.0, False: 2.0}},
        {"metric_params": {"none": None, "nested": [{"größe": 1e-300}]}},
    ],
)
def test_arguments_of_any_kind_go_through_the_store_as_json_has_them(
    arguments: dict[str, Any], store: ModelStore
) -> None:
    block = small.LINEAR.model_copy(update={"arguments": arguments})
    params = {"raw": {"sha256": None}, "train": block.model_dump()}
    searched = {"test": {"accuracy": 0.9}, "search": {"arguments": {"max_depth": None}}}
    chain_before = replace(chain(), params=params, metrics=searched)
    tag = bento_store.register(chain_before)
    path = Path(store.get(tag).path) / "model.yaml"
    before = path.stat().st_mtime_ns
    assert bento_store.register(chain_before) == tag
    assert path.stat().st_mtime_ns == before  # what is read back is what was put
    chain_after = read_chain(dict(bentoml.models.get(tag).info.metadata))
    assert chain_after == json.loads(json.dumps(chain_before.as_dict()))
    assert orjson.loads(orjson.dumps(chain_after)) == chain_after
