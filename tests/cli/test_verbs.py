from __future__ import annotations

import re
from typing import Any

import pytest

import xsam_backend
from xsam_backend.cli import VERBS
from xsam_backend.cli.options import is_secret, option_names
from xsam_backend.config import ENV_PREFIX, Settings


def test_help_names_every_verb(run: Any) -> None:
    status, out, _ = run("--help")
    assert status == 0
    for verb in VERBS:
        assert verb in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run: Any, verb: str) -> None:
    status, out, _ = run(verb, "--help")
    assert status == 0
    assert "Usage: xsam-backend " + verb in out


def test_version(run: Any) -> None:
    assert run("--version")[1] == f"xsam-backend, version {xsam_backend.__version__}\n"


@pytest.mark.parametrize("arguments", [["no-such-verb"], ["serve", "--no-such-option"], ["serve", "--port", "x"]])
def test_misuse_is_exit_2_on_stderr(run: Any, arguments: list[str]) -> None:
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert "Usage" in err


def test_a_setting_that_cannot_work_is_exit_1_in_one_line(run: Any) -> None:
    status, _, err = run("serve", "--port", "99999")
    assert status == 1
    assert err == (
        "error: settings do not work: port (XSAM_BACKEND_PORT): Input should be less than or equal to 65535\n"
    )


def test_serve_offers_every_setting_with_its_description(run: Any) -> None:
    out = " ".join(run("serve", "--help")[1].split())
    for name, field in Settings.model_fields.items():
        described = " ".join(str(field.description).split())
        assert re.sub(r"\s", "", described) in re.sub(r"\s", "", out), name
        assert (f"--{name.replace('_', '-')}" in out) is (name in option_names())


def test_secrets_have_no_option_but_a_variable(run: Any) -> None:
    out = run("serve", "--help")[1]
    secrets = [name for name, field in Settings.model_fields.items() if is_secret(field)]
    assert set(secrets) == {"database_url", "label_studio_token", "basic_auth_password", "webhook_secret"}
    for name in secrets:
        assert f"--{name.replace('_', '-')}" not in out
        assert f"{ENV_PREFIX}{name.upper()}" in out
