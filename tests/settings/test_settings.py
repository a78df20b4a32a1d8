"""Settings: where they come from, and that a wrong one is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import SettingsError
from settings.model import Settings


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
        ({"PROTONOVA_KAFKA_SSL_CAFILE": "nowhere.pem"}, "the file nowhere.pem is missing"),
        ({"PROTONOVA_ENGINE": "abacus"}, "PROTONOVA_ENGINE is 'abacus'"),
        ({"PROTONOVA_FRAMES_PREFIXES": "s3://bucket/frames"}, "'s3://bucket/frames' is neither a folder nor an https address"),
        ({"PROTONOVA_FRAMES_PREFIXES": "/night/../etc"}, "is neither a folder nor an https address"),
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


def test_the_history_is_a_switch_or_an_address_which_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, url in (("true", None), ("0", None), ("postgresql://me:s3cret@db/sky", "postgresql://me:s3cret@db/sky")):
        monkeypatch.setenv("PROTONOVA_HISTORY", text)
        settings = Settings()
        assert (bool(settings.history), settings.history_url()) == (text != "0", url)
        assert "s3cret" not in repr(settings) + str(settings.environment())
    monkeypatch.setenv("PROTONOVA_HISTORY", "mysql://me:s3cret@db/sky")
    with pytest.raises(SettingsError, match="neither true nor false nor an address postgresql://") as caught:
        Settings()
    assert "s3cret" not in str(caught.value)


def test_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(kafka="127.0.0.1:9", batch_wait_ms=5, container_output=True)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_a_broker_without_workers_is_allowed_as_the_flag_says() -> None:
    assert Settings(workers=0).workers == 0


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("PROTONOVA_ZZZ", "the nearest is PROTONOVA_"),  # nothing is like it: the nearest all the same, and where all are listed
        ("PROTONOVA_Q", "docs/settings.md"),
        ("protonova_kafka_pasword", "PROTONOVA_KAFKA"),
    ],
)
def test_a_variable_that_is_not_a_setting_is_refused(variable: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "hunter2")
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert variable in str(caught.value)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value), "it may be a secret under a wrong name"
    assert caught.value.code == 2


def test_a_key_of_the_file_that_is_like_none_is_refused_too(elsewhere: Path) -> None:
    (elsewhere / "protonova.toml").write_text("zzz = 'hunter2'\n")
    with pytest.raises(SettingsError, match=r"zzz in protonova.toml is not a setting; the nearest is \w+") as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


def test_what_kubernetes_and_tests_set_is_not_taken_for_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PROTONOVA_SERVICE_HOST": "10.0.0.7",
        "PROTONOVA_SERVICE_PORT": "8580",
        "PROTONOVA_PORT": "tcp://10.0.0.7:8580",
        "PROTONOVA_PORT_8580_TCP_ADDR": "10.0.0.7",
        "PROTONOVA_TEST_ANYTHING": "1",
    }.items():
        monkeypatch.setenv(name, value)
    Settings()
    monkeypatch.delenv("PROTONOVA_SERVICE_HOST")
    with pytest.raises(SettingsError, match="PROTONOVA_PORT is not a setting"):
        Settings()


def test_a_secrets_file_that_cannot_be_read_is_one_line_without_its_content(elsewhere: Path) -> None:
    (elsewhere / "password").write_bytes(b"\xff\xfehunter2")
    settings = Settings(
        kafka="k:9093", kafka_security_protocol="SASL_PLAINTEXT", kafka_sasl_username="me", kafka_sasl_password_file=elsewhere / "password"
    )
    with pytest.raises(SettingsError, match="is not text") as caught:
        settings.client_options()
    assert "hunter2" not in str(caught.value)


def test_sections_hold_every_setting_once() -> None:
    names = [name for section in Settings.sections() for name in section.model_fields]
    assert len(names) == len(set(names))
    assert set(names) == set(Settings.model_fields)
    assert [row[0] for row in Settings.table()] == names
    assert all(section.__doc__ for section in Settings.sections())


def test_every_setting_is_documented() -> None:
    for name, variable, _, doc in Settings.table():
        assert variable == f"PROTONOVA_{name.upper()}"
        assert doc


def test_without_a_broker_the_error_says_what_to_do() -> None:
    with pytest.raises(SettingsError, match="protonova run"):
        Settings().client_options()


def test_the_first_pattern_that_matches_says_a_topics_form(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "protonova.toml").write_text('[dialects]\n"detections.tde" = "json"\n"detections.*" = "fink"\n')
    settings = Settings()
    assert [settings.form_of(t) for t in ("detections", "detections.tde", "detections.sn-ia", "detections.private")] == [
        "confluent", "json", "fink", "fink",
    ]  # fmt: skip
    assert Settings(container_output=True).form_of("detections") == "container", "its former name is the last row"
    assert Settings(container_output=True).form_of("detections.tde") == "json"
    monkeypatch.setenv("PROTONOVA_DIALECTS", settings.environment()["PROTONOVA_DIALECTS"])
    (elsewhere / "protonova.toml").unlink()
    assert Settings() == settings
    monkeypatch.setenv("PROTONOVA_DIALECTS", " detections* = json ,")
    assert Settings().form_of("detections.kilonova") == "json"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("detections=finc", "PROTONOVA_DIALECTS is 'detections=finc': detections: 'finc' is not a form .*; did you mean fink"),
        ("detections=", "did you mean"),
        ("detections", "pattern=form.* is meant"),
        ("detctions.tde=json", "'detctions.tde' matches no topic of detections"),
        ("embeddings*=json", "matches no topic"),
        ("detections tde=json", "matches no topic"),
    ],
)
def test_a_wrong_form_is_one_line(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROTONOVA_DIALECTS", given)
    with pytest.raises(SettingsError, match=said) as caught:
        Settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ['dialects = "confluent"\n', "dialects = 3\n", '[dialects]\n"detections" = 3\n', '[dialects]\n"detections" = "Json"\n']
)
def test_a_wrong_table_of_forms_is_one_line(elsewhere: Path, text: str) -> None:
    (elsewhere / "protonova.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"dialects in protonova.toml is .*(did you mean|is meant)") as caught:
        Settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern", ["detections", "detections*", "*", "det*", "*.tde", "detections.*", "detections?tde", "detections.private"]
)
def test_patterns_that_match_some_topic_are_taken(pattern: str) -> None:
    assert Settings(dialects={pattern: "json"}).dialects == {pattern: "json"}


def test_prefixes_of_claims_are_addresses_that_end_with_a_stroke(elsewhere: Path) -> None:
    (elsewhere / "protonova.toml").write_text('frames_prefixes = ["/night/frames", "masters of r", "https://store.example/night"]\n')
    found = Settings()
    here = elsewhere.as_uri()
    assert found.frames_prefixes == ("file:///night/frames/", f"{here}/masters%20of%20r/", "https://store.example/night/")
    child = found.environment()["PROTONOVA_FRAMES_PREFIXES"]
    assert Settings(frames_prefixes=child).frames_prefixes == found.frames_prefixes
    assert Settings(frames_prefixes="").frames_prefixes == ()
