"""Settings: where they come from, and that a wrong one is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings.model import Settings, SettingsError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_flag_beats_environment_beats_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "protonova.toml").write_text("batch_size = 16\nworkers = 2\npartitions = 8\n")
    monkeypatch.setenv("PROTONOVA_WORKERS", "3")
    monkeypatch.setenv("PROTONOVA_PARTITIONS", "5")
    settings = Settings(partitions=6, workers=None)
    assert (settings.batch_size, settings.workers, settings.partitions, settings.engine) == (16, 3, 6, "auto")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PROTONOVA_BATCH_SIZE": "many"}, "PROTONOVA_BATCH_SIZE is 'many'"),
        ({"PROTONOVA_BATCH_SIZE": "0"}, "greater than or equal to 1"),
        ({"PROTONOVA_BATCHSIZE": "8"}, "did you mean PROTONOVA_BATCH_SIZE?"),
        ({"PROTONOVA_KAFKA": "localhost"}, "'localhost' is not host:port"),
        ({"PROTONOVA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "kafka_sasl_username"),
        ({"PROTONOVA_KAFKA_SSL_CAFILE": "nowhere.pem"}, "there is no file nowhere.pem"),
        ({"PROTONOVA_ENGINE": "abacus"}, "PROTONOVA_ENGINE is 'abacus'"),
    ],
)
def test_wrong_variable_is_one_line(environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [("batch_sze = 3", "did you mean batch_size?"), ("batch_size = ", "not valid TOML")])
def test_wrong_file_is_one_line(elsewhere: Path, text: str, said: str) -> None:
    (elsewhere / "protonova.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secret_is_read_from_a_file_and_never_shown(elsewhere: Path) -> None:
    (elsewhere / "password").write_text("s3cret\n")
    settings = Settings(
        kafka="k:9093", kafka_security_protocol="SASL_PLAINTEXT", kafka_sasl_username="me", kafka_sasl_password_file=elsewhere / "password"
    )
    assert settings.client_options()["sasl_plain_password"] == "s3cret"
    shown = Settings(kafka_sasl_password="s3cret")
    assert "s3cret" not in repr(shown) + str(shown.environment())


def test_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(kafka="127.0.0.1:9", batch_wait_ms=5, container_output=True)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_a_broker_without_workers_is_allowed_as_the_flag_says() -> None:
    assert Settings(workers=0).workers == 0


def test_every_setting_is_documented() -> None:
    for name, variable, _, doc in Settings.table():
        assert variable == f"PROTONOVA_{name.upper()}"
        assert doc


def test_without_a_broker_the_error_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match="protonova run"):
        Settings().client_options()
