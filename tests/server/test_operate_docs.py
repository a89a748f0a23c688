"""docs/operate.md and its rules for alerts name metrics, settings, addresses and commands that there are."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from app_parts import MemoryImages, click, request_of, services_of

from xsam_backend.cli import main
from xsam_backend.config import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operate.md").read_text("utf-8")
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "docs" / "prometheus-alerts.yml").read_text("utf-8"))
TABLE = PAGE.partition("## Metrics")[2].partition("\n## ")[0]
BLOCKS = [block.strip() for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
NEEDS_A_GPU = {"xsam_backend_device_bytes"}
NAME = re.compile(r"\b((?:xsam_backend|process)_\w+)(?:\{([^}]*)\})?")


@pytest.fixture
def metrics(make_app: Callable[..., Any]) -> str:
    """All that there are after a request of each kind."""
    url = "http://127.0.0.1:9"  # nobody listens there
    app = make_app(images=MemoryImages(), label_studio_url=url, label_studio_token="f" * 40)
    watch = services_of(app).label_studio_watch
    until(lambda: watch.is_reachable is not None)
    client = app.test_client()
    client.post("/setup", json={"project": "1.2", "schema": "<View/>", "hostname": "http://x"})
    client.post("/predict", json=request_of("a", "missing"))
    client.post("/predict", json=request_of("a", context=[click(50, 50)]))
    client.post("/webhook", json={"action": "TASKS_CREATED"})
    services_of(app).housekeeping.drain()
    return str(client.get("/metrics").text)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def of_family(metrics: str, name: str) -> set[str]:
    """Labels of a metric, or of a histogram's parts."""
    found = re.findall(rf"^{name}(?:_bucket|_count)?(?:\{{(.*)\}})? \S+$", metrics, re.MULTILINE)
    assert found, f"no metric {name}"
    return {label for labels in found for label in re.findall(r'(\w+)="', labels)}


def test_every_named_metric_is_there_with_its_labels(metrics: str) -> None:
    named = NAME.findall(TABLE)
    assert len(named) > 20
    for name, labels in named:
        if name not in NEEDS_A_GPU:
            assert {label.partition("=")[0].strip() for label in labels.split(",") if label} <= of_family(
                metrics, name
            )


def test_every_metric_of_ours_is_named(metrics: str) -> None:
    there = set(re.findall(r"^# TYPE (xsam_backend_\w+) ", metrics, re.MULTILINE))
    there = {name for name in there if not name.endswith("_created")}
    assert there - {name for name, _ in NAME.findall(TABLE)} == set()


def test_every_named_stage_is_timed(metrics: str) -> None:
    stages = set(re.findall(r'stage_seconds_count\{stage="(\w+)"\}', metrics))
    assert stages == {"fetch", "wait", "look", "state", "prefix", "answer"}
    for stage in stages:
        assert f"`{stage}`" in TABLE


def test_alerts_ask_for_metrics_that_there_are(metrics: str) -> None:
    (group,) = ALERTS["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])
    for rule in group["rules"]:
        assert rule["annotations"]["summary"]
        for name, labels in NAME.findall(rule["expr"]):
            there = of_family(metrics, name.removesuffix("_bucket"))
            assert {label.partition("=")[0] for label in labels.split(",") if label} <= there


def test_named_settings_addresses_and_links_are_there(make_app: Callable[..., Any]) -> None:
    for option in re.findall(r"`--([a-z-]+)", PAGE):
        assert option in ("replace", "show-config", "yes") or option.replace("-", "_") in Settings.model_fields, (
            option
        )
    rules = {str(rule) for rule in make_app().url_map.iter_rules()}
    assert set(re.findall(r"`(?:GET )?(/[a-z/]+)`", PAGE)) <= rules
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"xsam-backend ((?:store|jobs|bulk|models|sync)[ a-z]*)", PAGE)))
)
def test_named_commands_are_there(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([*line.split()[:2], "--help"])
    assert f"Usage: xsam-backend {' '.join(line.split()[:2])}" in capsys.readouterr().out


def test_the_blocks_are_run_elsewhere() -> None:
    blocks = [block for block in BLOCKS if not block.startswith("docker compose")]
    ran = {
        "xsam-backend serve --show-config": "tests/cli/test_show_config.py",
        "xsam-backend store backup": "tests/e2e/test_backup_and_restore.py",
        "xsam-backend store prune": "tests/cli/test_store_command.py",
        "xsam-backend store downgrade": "tests/e2e/test_backup_and_restore.py",
    }
    for block in blocks:
        (path,) = [path for command, path in ran.items() if block.startswith(command)]
        verb = re.split(r"\s+", block)[1:3][-1]
        assert verb in (ROOT / path).read_text("utf-8")


LINES_FOR_COMPOSE = [line for block in BLOCKS if block.startswith("docker compose") for line in block.splitlines()]


@pytest.mark.parametrize("line", LINES_FOR_COMPOSE)
def test_lines_for_containers_fit_the_compose_file(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Their databases' part is run by tests/cli/test_postgresql_backup.py; there is no container engine here."""
    named = set(re.findall(r"\b(backend-\w+|postgresql)\b", line))
    assert named <= COMPOSE["services"].keys()
    for profile in re.findall(r"--profile (\w+)", line):
        assert any(profile in service.get("profiles", ()) for service in COMPOSE["services"].values())
    assert named or "up --detach" in line
    if ours := re.search(r"(?:exec backend-cpu xsam-backend|run .* backend-cpu) (store \w+)(.*)", line):
        main([*ours[1].split(), "--help"])
        usage = capsys.readouterr().out
        assert f"Usage: xsam-backend {ours[1]}" in usage
        assert all(option in usage for option in re.findall(r"--[a-z]+", ours[2]))
        (written,) = re.findall(r"/\w+(?:/\w+)*", ours[2])
        assert written.startswith("/data/") or f":{written}:ro" in line, "nothing else can be written"
