from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cairn.errors import CairnError
from cairn.releases import report
from cairn.releases.comparison import ScoreDifference

INTERVAL = {"low": 0.90, "high": 0.99}


def row(name: str, before: dict[str, float], compared: dict[str, ScoreDifference]) -> list[str]:
    [result] = report.list_score_rows(before, {"rows": 9, name: 0.95}, {name: INTERVAL}, compared)
    return result


@pytest.mark.parametrize(
    ("name", "low", "high", "text"),
    [
        ("roc_auc", 0.01, 0.03, "better: +0.0100 to +0.0300"),
        ("roc_auc", -0.03, -0.01, "worse: -0.0300 to -0.0100"),
        ("roc_auc", -0.01, 0.03, "within the noise: -0.0100 to +0.0300"),
        ("roc_auc", 0.0, 0.03, "within the noise: +0.0000 to +0.0300"),
        ("log_loss", 0.01, 0.03, "worse: +0.0100 to +0.0300"),
        ("brier", -0.03, -0.01, "better: -0.0300 to -0.0100"),
        ("accuracy", 0.0, 0.0, "the same"),
    ],
)
def test_a_difference_is_better_or_worse_only_if_its_interval_is_without_0(
    name: str, low: float, high: float, text: str
) -> None:
    assert report.describe_difference(name, ScoreDifference(0.5, 0.5, low, high)) == text


def test_a_score_is_shown_with_its_change_its_interval_and_what_both_say_of_the_same_rows() -> None:
    compared = {"accuracy": ScoreDifference(0.95, 0.94, -0.01, 0.03)}
    assert row("accuracy", {"accuracy": 0.94}, compared) == [
        "accuracy", "0.9400", "0.9500", "+0.0100", "0.9000 to 0.9900",
        "within the noise: -0.0100 to +0.0300",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "text"),
    [(0.90, "within the interval"), (0.89, "outside the interval"), (1.0, "outside the interval")],
)
def test_without_that_the_report_says_where_the_other_score_lies(before: float, text: str) -> None:
    assert row("accuracy", {"accuracy": before}, {})[-1] == text


def test_where_nothing_tells_how_sure_a_score_is_no_place_is_named() -> None:
    sure = {"brier": {"low": None, "high": None}}
    [result] = report.list_score_rows({"brier": 0.1}, {"brier": 0.0}, sure, {})
    assert result == ["brier", "0.1000", "0.0000", "-0.1000", "–", "–"]


def test_a_score_that_the_base_has_not_is_no_error() -> None:
    result = row("calibration_error", {}, {})
    assert result == ["calibration_error", "–", "0.9500", "–", "0.9000 to 0.9900", "–"]


def test_a_repository_that_git_does_not_read_is_reported_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(CairnError, match=r"^git knows no commit 'main'; "):
        report.write_report("main")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(CairnError, match=r"belongs to another user.*safe\.directory"):
        report.write_report("main")
