from __future__ import annotations

from typing import Any

from deploy.local.upgrade.reruns import Rerun, explain_reruns

STAGES: dict[str, Any] = {
    "raw": {"deps": ["stages/raw.py"], "outs": [{"data/raw/table": {"persist": True}}]},
    "features": {"deps": ["data/raw/table"], "outs": ["data/train", "data/test"]},
    "train": {"deps": ["data/train", "data/test"], "outs": ["data/model"]},
    "evaluate": {"deps": ["data/model"], "metrics": [{"data/metrics.json": {"cache": False}}]},
}


LOCKED: dict[str, Any] = {
    "raw": {"outs": [{"path": "data/raw/table"}]},
    "features": {"outs": [{"path": "data/train"}, {"path": "data/test"}]},
    "train": {"outs": [{"path": "data/model"}]},
    "evaluate": {"outs": [{"path": "data/metrics.json"}]},
}


def explain(status: dict[str, Any], locked: Any = LOCKED) -> dict[str, tuple[str, ...]]:
    return dict(explain_reruns(status, STAGES, locked))


def test_nothing_changed_is_nothing_to_run() -> None:
    assert explain({}) == {}


def test_each_kind_of_change_has_its_words() -> None:
    deps = {
        "cairn/params": "modified",
        "stages/raw.py": "new",
        "requirements.txt": "modified",
        "params.yaml": {"raw.source": "modified", "raw.sha256": "new"},
        "data/other": "deleted",
    }
    outs = {"data/raw/table": "not in cache", "data/raw/more": "deleted"}
    status = {"raw": [{"changed deps": deps}, {"changed outs": outs},
                      "changed command", "always changed"]}  # fmt: skip
    assert explain(status)["raw"] == (
        "code changed: stages/raw.py, cairn/params",
        "packages changed: requirements.txt",
        "params changed: raw.source, raw.sha256",
        "input changed: data/other",
        "output is new: data/raw/more",
        "output is not the one of dvc.lock (`dvc checkout` brings it): data/raw/table",
        "its command changed",
        "always changed",
    )


def test_a_params_file_that_is_gone_is_reported() -> None:
    status = {"raw": [{"changed deps": {"params.yaml": "deleted"}}]}
    assert explain(status)["raw"] == ("params changed: params.yaml",)


def test_many_names_are_counted() -> None:
    status = {"raw": [{"changed deps": {f"cairn/{n}.py": "new" for n in range(6)}}]}
    assert explain(status)["raw"][0].endswith("cairn/2.py, cairn/3.py and 2 more")


def test_what_follows_runs_only_if_it_is_given_something_else() -> None:
    result = explain({"features": [{"changed deps": {"stages/features.py": "modified"}}]})
    assert "raw" not in result
    assert result["train"] == ("only if features writes different data/train, data/test",)
    assert result["evaluate"] == ("only if train writes different data/model",)


def test_a_stage_that_is_new_is_reported_as_that() -> None:
    before = {name: stage for name, stage in LOCKED.items() if name != "evaluate"}
    result = explain({"evaluate": [{"changed deps": {"a": "new"}}]}, before)
    assert result == {"evaluate": ("new in this release",)}


def test_the_order_is_that_of_the_pipeline() -> None:
    status = {"train": ["changed command"], "raw": ["changed command"]}
    assert [rerun.stage for rerun in explain_reruns(status, STAGES, LOCKED)] == list(STAGES)
    assert isinstance(explain_reruns(status, STAGES, LOCKED)[0], Rerun)
