from __future__ import annotations

from pathlib import Path

import pytest

from service.process.settings import Settings, read_settings

KEY = "0123456789abcdef"
MLFLOW = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}


def test_without_variables_each_has_its_default() -> None:
    assert read_settings({}) == Settings()
    names = {name.upper() for name in Settings.model_fields} - {"API_KEYS", "API_KEYS_FILE"}
    assert read_settings(dict.fromkeys(names, " ")) == Settings()


@pytest.mark.parametrize("name", ["API_KEYS", "API_KEYS_FILE"])
@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_keys_that_are_set_but_empty_do_not_open_the_service(name: str, value: str) -> None:
    expected = f"^error: {name}: set, but empty; unset it if everybody may ask; .*openssl rand"
    with pytest.raises(ValueError, match=expected):
        read_settings({name: value})


def test_a_list_of_keys_without_one_does_not_open_the_service() -> None:
    with pytest.raises(ValueError, match=r"^error: API_KEYS: set, but empty"):
        read_settings({"API_KEYS": " , "})


def test_a_key_that_is_too_short_is_refused_by_its_number_and_never_repeated(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="16 or more; make one with `openssl") as error:
        read_settings({"API_KEYS": f"{KEY},alice:secret"})
    assert str(error.value).startswith(
        "error: API_KEYS: key 2: got a key named 'alice' of 6 characters; allowed"
    )
    (tmp_path / "keys").write_text(f"{KEY}\n\nsecret\n")
    with pytest.raises(ValueError, match=r"^error: API_KEYS_FILE: '.*': line 3: got a key of 6 "):
        read_settings({"API_KEYS_FILE": str(tmp_path / "keys")})


def test_networks_and_origins_are_lists() -> None:
    settings = read_settings(
        {"TRUSTED_PROXIES": "10.1.2.3/8, ::1", "CORS_ORIGINS": "https://a.b:8443 http://localhost"}
    )
    assert list(map(str, settings.trusted_proxies)) == ["10.0.0.0/8", "::1/128"]
    assert settings.cors_origins == ("https://a.b:8443", "http://localhost")


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
            "API_KEYS": f" {KEY}, b:{KEY}1\n{KEY}2,",
            "API_KEYS_FILE": str(tmp_path / "keys"),
            "METRICS_OPEN": "false",
            "HOME": "/root",
        }
    )
    assert (checked.workers, checked.timeout_seconds, checked.log_level) == (3, 0.5, "warning")
    assert (checked.log_inputs, checked.metrics_open) == (True, False)
    assert checked.api_keys == (KEY, f"b:{KEY}1", f"{KEY}2")
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
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("CORS_ORIGINS", "https://a.b/path"),
        ("CORS_ORIGINS", "a.b"),
        ("HEARTBEAT_SECONDS", "-1"),
        ("MODEL_TAG", "../x:y"),
    ],
)
def test_a_wrong_one_is_named_with_what_came_and_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^error: {name}: got '{value}'; allowed: "):
        read_settings({name: value})


def test_a_file_of_keys_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^error: API_KEYS_FILE: got '.*'; allowed: a file that"):
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
        ({"MODEL_URI": "https://b/k"}, "MODEL_URI: got 'https://b/k'; allowed: "),
        ({"MODEL_URI": "s3://b"}, "MODEL_URI: got 's3://b'; allowed: "),
        ({"MODEL_SHA256": "abc"}, "MODEL_SHA256: got 'abc'; allowed: "),
        ({"MODEL_URI": "models:/a"}, "MODEL_URI: got 'models:/a'; allowed: "),
        ({"MODEL_URI": "models:/a/latest"}, "MODEL_URI: got 'models:/a/latest'; allowed: "),
        ({"MODEL_URI": "models:/a/0"}, "MODEL_URI: got 'models:/a/0'; allowed: "),
        ({"MODEL_URI": "models:/a/b@c"}, "MODEL_URI: got 'models:/a/b@c'; allowed: "),
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
        ({"MODEL_TAG": "../x:y"}, "MODEL_TAG: got '../x:y'; allowed: "),
        ({"MODEL_TAG": "cairn"}, "MODEL_TAG: got 'cairn'; allowed: "),
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
    environment = {
        "API_KEYS": "secret-0123456789abcdef",
        "MLFLOW_TRACKING_URI": "https://user:secret@mlflow",
    }
    assert "secret" not in repr(read_settings(environment))
