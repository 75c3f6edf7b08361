from __future__ import annotations

from pathlib import Path

import pytest

from service.process.settings import Settings, read_settings

MLFLOW = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}


def test_without_variables_each_has_its_default() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({name.upper(): " " for name in Settings.model_fields}) == Settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_variables_are_read(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    checked = read_settings(
        {
            "WORKERS": "3",
            "TIMEOUT_SECONDS": "0.5",
            "LOG_LEVEL": "WARNING",
            "LOG_INPUTS": "true",
            "API_KEYS": " a, b\nc,",
            "API_KEYS_FILE": str(tmp_path / "keys"),
            "METRICS_OPEN": "false",
            "HOME": "/root",
        }
    )
    assert (checked.workers, checked.timeout_seconds, checked.log_level) == (3, 0.5, "warning")
    assert (checked.log_inputs, checked.metrics_open) == (True, False)
    assert checked.api_keys == ("a", "b", "c")
    assert checked.api_keys_file == tmp_path / "keys"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("MAX_BODY_BYTES", "-1"),
        ("MAX_ROWS", "1.5"),
        ("TIMEOUT_SECONDS", "nan"),
        ("TIMEOUT_SECONDS", "inf"),
        ("LOG_LEVEL", "loud"),
        ("LOG_INPUTS", "maybe"),
        ("DRIFT_ROWS", "1"),
    ],
)
def test_a_wrong_one_is_named_with_what_came_and_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^error: {name}: '{value}': input should be "):
        read_settings({name: value})


def test_a_file_of_keys_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^error: API_KEYS_FILE: .*path does not point to a file"):
        read_settings({"API_KEYS_FILE": str(tmp_path / "none")})


def test_a_file_of_keys_has_to_be_within_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system's refusal is played here."""

    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    expected = (
        "^error: API_KEYS_FILE: '.*': Permission denied; user [0-9]+ must be able to read it$"
    )
    with pytest.raises(ValueError, match=expected):
        read_settings({"API_KEYS_FILE": str(tmp_path / "keys")})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="WORKERS") as error:
        read_settings({"WORKERS": "x", "MAX_ROWS": "0", "LOG_LEVEL": "loud"})
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MODEL_URI": "s3://b/k"}, "MODEL_URI and MODEL_SHA256 belong together"),
        ({"MODEL_SHA256": "0" * 64}, "MODEL_URI and MODEL_SHA256 belong together"),
        (
            {"MODEL_URI": "s3://b/k", "MODEL_SHA256": "0" * 64, "MODEL_TAG": "a:b"},
            "MODEL_TAG and MODEL_URI name a model each",
        ),
        ({"MODEL_URI": "https://b/k"}, "MODEL_URI: 'https://b/k'"),
        ({"MODEL_URI": "s3://b"}, "MODEL_URI: 's3://b'"),
        ({"MODEL_SHA256": "abc"}, "MODEL_SHA256: 'abc'"),
        ({"MODEL_URI": "models:/a"}, "MODEL_URI: 'models:/a'"),
        ({"MODEL_URI": "models:/a/latest"}, "MODEL_URI: 'models:/a/latest'"),
        ({"MODEL_URI": "models:/a/0"}, "MODEL_URI: 'models:/a/0'"),
        ({"MODEL_URI": "models:/a/b@c"}, "MODEL_URI: 'models:/a/b@c'"),
        (
            {"MODEL_URI": "models:/a@b"},
            "MODEL_URI: models:/a@b is a model of MLflow; set MLFLOW_TR",
        ),
        (
            {"MODEL_URI": "models:/a@b", "MLFLOW_TRACKING_URI": "databricks"},
            "MODEL_URI: models:/a@b is a model of MLflow; set MLFLOW_TRACKING_URI to the address",
        ),
        (
            {"MODEL_URI": "models:/a@b", "MODEL_SHA256": "0" * 64, **MLFLOW},
            "MODEL_SHA256 is of a file on S3",
        ),
        (
            {"MODEL_URI": "models:/a@b", "MODEL_TAG": "a:b", **MLFLOW},
            "MODEL_TAG and MODEL_URI name a model each",
        ),
        ({"MODEL_TAG": "../x:y"}, "MODEL_TAG: '../x:y'"),
        ({"MODEL_TAG": "cairn"}, "MODEL_TAG: 'cairn'"),
    ],
)
def test_a_model_is_named_in_one_way_and_whole(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^error: {message}"):
        read_settings(environment)


@pytest.mark.parametrize("uri", ["models:/cairn/12", "models:/cairn@champion"])
def test_a_model_of_mlflow_needs_no_hash_but_a_server(uri: str) -> None:
    assert read_settings({"MODEL_URI": uri, **MLFLOW}).model_uri == uri


def test_an_address_of_mlflow_that_nothing_asks_for_is_nothing_to_the_service() -> None:
    assert read_settings({"MLFLOW_TRACKING_URI": "databricks"}).model_uri is None


def test_no_key_is_shown() -> None:
    environment = {"API_KEYS": "secret", "MLFLOW_TRACKING_URI": "https://user:secret@mlflow"}
    assert "secret" not in repr(read_settings(environment))
