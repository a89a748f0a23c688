from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from xsam_backend.config import ENV_PREFIX, RESERVED_THREADS, Settings, load_settings
from xsam_backend.errors import SettingsError


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_PREFIX + "PORT", "1234")
    monkeypatch.setenv(ENV_PREFIX + "LABEL_STUDIO_TOKEN", "secret-token")
    settings = load_settings()
    assert settings.port == 1234
    assert settings.label_studio_token is not None
    assert settings.label_studio_token.get_secret_value() == "secret-token"


def test_given_values_win_over_the_environment_and_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_PREFIX + "PORT", "1234")
    assert load_settings(port=99).port == 99
    assert load_settings(port=None).port == 1234


def test_an_empty_variable_means_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_PREFIX + "LABEL_STUDIO_URL", "")
    assert load_settings().label_studio_url is None


def test_a_misspelt_variable_is_refused_and_a_strangers_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_PREFIX + "SERVICE_HOST", "10.0.0.1")  # Kubernetes sets it for a service of our name
    load_settings()
    monkeypatch.setenv(ENV_PREFIX + "LABELSTUDIO_TOKEN", "secret-token")
    with pytest.raises(SettingsError, match="did you mean XSAM_BACKEND_LABEL_STUDIO_TOKEN") as error:
        load_settings()
    assert "secret-token" not in str(error.value)


def test_what_kubernetes_says_of_a_service_of_our_name_is_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pod beside a service called xsam-backend gets it."""
    monkeypatch.setenv(ENV_PREFIX + "PORT", "tcp://10.0.0.1:9090")
    assert load_settings().port == 9090
    assert load_settings(port=1234).port == 1234


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": 70000}, "port (XSAM_BACKEND_PORT)"),
        ({"label_studio_url": "localhost:8080"}, "http://localhost:8080"),
        ({"label_studio_url": "http://user:pw@localhost"}, "without user name"),
        ({"basic_auth_user": "u"}, "work: basic_auth_user and basic_auth_password: expected both or none, got one"),
        ({"basic_auth_user": "u"}, "comes from XSAM_BACKEND_BASIC_AUTH_PASSWORD or the file"),
        ({"threads": RESERVED_THREADS}, "threads"),
        ({"log_level": "LOUD"}, "log_level"),
        ({"no_such_setting": 1}, "no_such_setting"),
    ],
    ids=[
        "range",
        "no scheme",
        "credentials in the address",
        "half a login",
        "where the other half belongs",
        "no thread for health",
        "enum",
        "unknown",
    ],
)
def test_mistakes_name_the_field(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=r"settings do not work") as error:
        load_settings(**given)
    assert said in str(error.value)


def test_a_refused_secret_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(basic_auth_password="hunter2")
    assert "hunter2" not in str(error.value)


def test_secrets_do_not_print() -> None:
    settings = load_settings(label_studio_token=SecretStr("abc123"), database_url=SecretStr("postgresql://u:pw@h/d"))
    assert "abc123" not in repr(settings)
    assert "pw" not in repr(settings)


def test_a_secret_may_be_a_file_and_the_environment_goes_before_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "xsam_backend_label_studio_token").write_text("from-a-file\n")
    monkeypatch.setattr("xsam_backend.config.SECRETS_DIR", tmp_path)
    token = load_settings().label_studio_token
    assert token is not None
    assert token.get_secret_value() == "from-a-file"
    monkeypatch.setenv(ENV_PREFIX + "LABEL_STUDIO_TOKEN", "from-the-environment")
    token = load_settings().label_studio_token
    assert token is not None
    assert token.get_secret_value() == "from-the-environment"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="takes a file of Linux's that can't be read")
def test_a_secret_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "xsam_backend_label_studio_token"
    secret.symlink_to("/proc/self/mem")
    monkeypatch.setattr("xsam_backend.config.SECRETS_DIR", tmp_path)
    with pytest.raises(SettingsError, match=r"a secret in .* cannot be read \(.*\): let .*\(uid \d+\) read it"):
        load_settings()


def test_a_list_in_the_environment_has_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENV_PREFIX + "ALLOW_PRIVATE_HOSTS", "nas.local, 10.0.0.0/8,")
    assert load_settings().allow_private_hosts == ("nas.local", "10.0.0.0/8")


def test_settings_are_frozen(settings: Settings) -> None:
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_every_field_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_paths_are_absolute() -> None:
    assert load_settings(data_dir=Path("relative")).data_dir.is_absolute()


@pytest.mark.parametrize(
    ("url", "instance"), [(None, "local"), ("http://ls.example:8080/", "ls.example:8080"), ("https://ls", "ls")]
)
def test_instance_is_the_label_studio_address(url: str | None, instance: str) -> None:
    assert load_settings(label_studio_url=url).instance == instance


def test_a_batch_ends_before_label_studio_gives_up() -> None:
    """It waits 100 s and stores nothing then; a download that began just in time must still fit."""
    settings = load_settings()
    assert settings.batch_limit_s + settings.image_timeout_s < 100
