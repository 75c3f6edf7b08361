from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
import yaml
from bentoml._internal.models import ModelStore

from cairn import provenance
from cairn.errors import CairnError
from cairn.paths import MODEL, ONNX
from cairn.releases import bento_store
from service.bento.store import (
    PACKED,
    choose_model,
    find_packed,
    parse_chain,
    read_model,
    register_packed,
)
from service.process import run_folder
from service.process.settings import Settings
from tests import entries, small
from tests.service.complete import locked_stages

if TYPE_CHECKING:
    from service.bento.packed import PackedModel

ROOT = Path(__file__).resolve().parents[3]
CALL = "from service.bento.packed import PackedModel; print(PackedModel().tag)"

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStore]:
    """A project with a model that its dvc.lock names, and an empty store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    small.save_tree()
    raw = {"params": {"params.yaml": {"raw": {"source": "t.csv", "sha256": None}}}}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"raw": raw, **locked_stages()}}))
    with small.store(tmp_path / "bentoml") as own:
        yield own


def packed_model() -> PackedModel:
    """The model as the service's class has it; BentoML's import warns of what pydantic drops."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from service.bento.packed import PackedModel  # noqa: PLC0415
    return PackedModel()


def ended() -> str:
    """The line with which the process ends, where BentoML asks for the model."""
    with pytest.raises(SystemExit) as exited:
        packed_model().resolve()
    line = str(exited.value.code)
    assert line.startswith("error: ")
    assert len(line.splitlines()) == 1
    return line


def test_the_model_that_dvc_lock_names_is_registered_and_served(store: ModelStore) -> None:
    tag = register_packed()
    assert tag == f"small:{provenance.hash_entry(MODEL)[:12]}"
    assert [str(model.tag) for model in store.list()] == [tag]
    assert register_packed() == tag


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.resolve().tag,  # `bentoml serve`
        lambda model: model.to_info().tag,  # `bentoml build`
        lambda model: model.tag,
    ],
)
def test_the_packed_model_is_registered_once_bentoml_asks_for_it(
    store: ModelStore, ask: Callable[[PackedModel], object]
) -> None:
    model = packed_model()
    assert store.list() == []
    tag = ask(model)
    assert [entry.tag for entry in store.list()] == [tag]


def test_no_import_reads_registers_or_patches_anything(tmp_path: Path) -> None:
    """In a folder without any model, and with a wrong setting."""
    code = (
        "import signal, sys; from bentoml._internal.utils import circus; before = circus.Arbiter; "
        "import service, service.service; from service.service import Cairn; "
        "assert circus.Arbiter is before; "
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL; "
        "print(Cairn.name, len(Cairn.models))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "BENTOML_HOME": str(tmp_path / "home"), "MAX_ROWS": "many",
             "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "cairn 1\n"), done.stderr
    assert not list((tmp_path / "home").glob("models/*/*"))


def test_the_chain_is_read_back_as_it_was_registered(store: ModelStore) -> None:
    train = {"name": "small", "arguments": {"max_depth": None, "class_weight": {0: 1, 1: 2.5}}}
    chain = provenance.trace_new({"train": train})
    stored = store.get(bento_store.register(chain))
    actual = parse_chain(stored.info.metadata)
    weights = {"0": 1, "1": 2.5}  # a key of JSON is a text
    arguments = {"max_depth": None, "class_weight": weights}
    assert actual == {
        **chain.as_dict(),
        "params": {
            "raw": {"source": "t.csv", "sha256": None},
            "train": {"name": "small", "arguments": arguments},
        },
    }
    assert orjson.loads(orjson.dumps(actual)) == actual


def test_a_missing_model_ends_the_process_with_what_brings_it(store: ModelStore) -> None:
    shutil.rmtree(MODEL)
    assert "run `dvc repro` to train one, or `dvc pull` to fetch it" in ended()
    assert store.list() == []


def test_another_model_than_dvc_lock_names_is_not_served(store: ModelStore) -> None:
    ONNX.write_bytes(b"other")
    assert "is not the one that dvc.lock names: run `dvc checkout`" in ended()
    assert store.list() == []


@pytest.mark.usefixtures("store")
def test_a_worker_serves_what_bentoml_serve_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what the folder has by the time that it is started."""
    first = find_packed()
    assert first.tag == register_packed()
    other = entries.make_other(first.folder)
    monkeypatch.setenv(PACKED, f"small:{other.name}")
    assert find_packed() == read_model(other)
    monkeypatch.setenv(PACKED, "small:none")
    with pytest.raises(CairnError, match=r"the packed model: no small:none in .*; models there:"):
        find_packed()


@pytest.mark.parametrize("place", ["beside", "store"])
def test_a_bento_s_model_lies_beside_its_code_or_in_the_store(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    tag = register_packed()
    expected = Path(store.get(tag).path)
    bento = tmp_path / "bento"
    bento.mkdir()
    (bento / "bento.yaml").write_text(json.dumps({"services": [{"models": [{"tag": tag}]}]}))
    monkeypatch.setattr("service.bento.store.BENTO", bento / "bento.yaml")
    if place == "beside":
        beside = bento / "models" / tag.replace(":", "/")
        beside.parent.mkdir(parents=True)
        expected = expected.rename(beside)
    served = find_packed()
    assert (served.folder, served.tag) == (expected, tag)


def test_a_tag_of_the_store_is_served_in_the_place_of_the_packed_one(store: ModelStore) -> None:
    packed = store.get(register_packed())
    assert choose_model(Settings(), lambda: read_model(Path(packed.path))).tag == str(packed.tag)
    other = entries.make_other(Path(packed.path))
    served = choose_model(
        Settings(model_tag=f"small:{other.name}"), lambda: read_model(Path(packed.path))
    )
    assert (served.folder, served.tag) == (other, f"small:{other.name}")
    assert served.chain["params"] == parse_chain(packed.info.metadata)["params"]


def fetched(folder: Path) -> Settings:
    """Settings by which a model comes from an archive, which was fetched to a folder."""
    shutil.copytree(folder, folder.parents[3] / "run" / "model")
    return Settings(model_uri="s3://cairn/model", model_sha256="0" * 64)


WAYS: dict[str, Callable[[Path], Settings]] = {
    "the packed model": lambda _: Settings(),
    "MODEL_TAG": lambda folder: Settings(model_tag=f"small:{folder.name}"),
    "MODEL_URI": fetched,
}


def damage_graph(entry: Path) -> None:
    (entry / ONNX.name).write_bytes(b"other")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "contract.json": entries.swap_classes,
    "model.onnx": damage_graph,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", DAMAGES)
def test_a_changed_model_is_not_served_under_its_name(
    store: ModelStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
    name: str,
) -> None:
    packed = store.get(register_packed())
    expected = str(packed.info.metadata["sha256"])
    folder = Path(packed.path)
    DAMAGES[name](folder)
    monkeypatch.setenv(run_folder.RUN, str(tmp_path / "run"))
    with pytest.raises(CairnError) as error:
        choose_model(WAYS[way](folder), lambda: read_model(Path(packed.path)))
    text = str(error.value)
    assert text.startswith(f"{way}: {packed.tag} is damaged: {name} in {tmp_path}")
    assert f": {provenance.hash_entry(folder)}, expected: {expected}; " in text
    assert re.search("`make (register|export)`", text)
    assert "\n" not in text


def test_a_model_with_a_new_hash_in_its_metadata_is_not_served_under_its_old_name(
    store: ModelStore,
) -> None:
    packed = store.get(register_packed())
    entries.swap_classes(Path(packed.path))
    description = Path(packed.path, "model.yaml")
    sha256 = provenance.hash_entry(Path(packed.path))
    description.write_text(
        description.read_text().replace(str(packed.info.metadata["sha256"]), sha256)
    )
    with pytest.raises(CairnError, match=f"^MODEL_TAG: {packed.tag} is no tag of .* {sha256}: "):
        choose_model(Settings(model_tag=str(packed.tag)), lambda: read_model(Path(packed.path)))


def test_an_entry_with_another_s_description_is_not_served(store: ModelStore) -> None:
    packed = store.get(register_packed())
    other = entries.make_other(Path(packed.path))
    shutil.rmtree(packed.path)
    other.rename(packed.path)
    with pytest.raises(CairnError, match=f"MODEL_TAG: .* holds small:{other.name}; delete it"):
        choose_model(Settings(model_tag=str(packed.tag)), lambda: read_model(Path(packed.path)))


def test_a_model_without_its_contract_is_not_served(store: ModelStore) -> None:
    packed = store.get(register_packed())
    Path(packed.path, "contract.json").unlink()
    with pytest.raises(CairnError, match=r"is damaged: .*contract\.json is missing; delete it"):
        choose_model(Settings(model_tag=str(packed.tag)), lambda: read_model(Path(packed.path)))


def test_what_the_hashes_cover_is_in_the_chain(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    packed = store.get(register_packed())
    chosen = choose_model(Settings(), lambda: read_model(Path(packed.path)))
    covered = {"by_tag": ("contract.json", "model.onnx"), "other_files_match": True}
    assert chosen.chain["coverage"] == covered
    assert caplog.messages == []
    Path(packed.path, "card.md").write_text("the best model ever")
    chosen = choose_model(Settings(), lambda: read_model(Path(packed.path)))
    assert chosen.chain["coverage"] == {**covered, "other_files_match": False}
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"{packed.tag}: its card, scores or plots changed")


def test_a_tag_that_the_store_lacks_is_reported_with_those_that_it_has(store: ModelStore) -> None:
    packed = store.get(register_packed())
    with pytest.raises(
        CairnError, match=f"MODEL_TAG: no small:none in .*; models there: {packed.tag}$"
    ):
        choose_model(Settings(model_tag="small:none"), lambda: read_model(Path(packed.path)))


@pytest.mark.parametrize("content", [None, "a: [", "name: a", "[]"])
def test_a_folder_that_is_no_model_of_ours_is_reported(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "model.yaml").write_text(content)
    with pytest.raises(CairnError, match="holds no model that Cairn registered"):
        read_model(tmp_path)


def make_alias_bomb() -> str:
    """Nine lines that stand for ten to the ninth values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 9):
        repeated = ", ".join([f"*a{number - 1}"] * 10)
        lines.append(f"a{number}: &a{number} [{repeated}]")
    return "\n".join(lines)


TOO_MUCH = {
    "deep": "name: a\nversion: b\nmetadata: " + "[" * 2000 + "]" * 2000,
    "deep JSON": "name: a\nversion: b\nmetadata: {params: '" + "[" * 9000 + "]" * 9000 + "'}",
    "not so deep": "name: a\nversion: b\nmetadata: " + "[" * 30 + "]" * 30,
    "bomb": make_alias_bomb(),
    "long": "name: " + "a" * 2**20,
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("content", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_description_that_is_too_much_is_reported_in_one_line(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "model.yaml").write_text(content, errors="surrogateescape")
    with pytest.raises(CairnError, match="holds no model that Cairn registered") as error:
        read_model(tmp_path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


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
