"""One project: label config, webhook, and one real picture."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress

from xsam_backend.cli.checks import Finding
from xsam_backend.cli.checks.label_config import check_label_config
from xsam_backend.cli.checks.service import look_up_service
from xsam_backend.config import Settings
from xsam_backend.errors import XSamBackendError
from xsam_backend.labelstudio.client import LabelStudioClient, Row
from xsam_backend.labelstudio.label_config import LabelConfig


def check_project(settings: Settings, client: LabelStudioClient, project: Row) -> Iterator[Finding]:
    """What Label Studio says about the project, and what can be done with it."""
    config = yield from _check_label_config(project)
    try:
        yield from _check_webhook(settings, client, project)
    except XSamBackendError as error:
        yield Finding("FAIL", "webhook", str(error))
    if config is not None:
        try:
            yield from _check_picture(settings, client, config, int(project["id"]))
        except XSamBackendError as error:
            yield Finding("FAIL", "picture", str(error))


def _check_label_config(project: Row) -> Generator[Finding, None, LabelConfig | None]:
    """Returns the parsed config, None if it can't be read."""
    xml = str(project.get("label_config") or "")
    config = None
    with suppress(XSamBackendError):  # said below, with what to change
        config = LabelConfig.parse(xml)
    if config is not None and config.outputs:
        outputs = ", ".join(f"{output.tag} '{output.name}'" for output in config.outputs)
        yield Finding("ok", "label config", f"'{project.get('title')}' writes to {outputs}")
    yield from check_label_config(xml)
    return config


def _check_webhook(settings: Settings, client: LabelStudioClient, project: Row) -> Iterator[Finding]:
    from xsam_backend.server.auth import WEBHOOK_HEADER, WebhookSecrets, webhook_root
    from xsam_backend.store.database import opened_store
    from xsam_backend.store.projects import ProjectKey

    try:
        with opened_store(settings.data_dir, settings.shared_database_url) as store:
            secrets = WebhookSecrets(webhook_root(settings, store))
    except XSamBackendError:  # the data folder's own check has said so
        return
    key = ProjectKey.from_webhook(settings.instance, project)
    headers = [row.get("headers") or {} for row in client.webhooks(int(project["id"]))]
    if any(secrets.verifies(key, header.get(WEBHOOK_HEADER)) for header in headers):
        yield Finding("ok", "webhook", "carries our secret")
    else:
        yield Finding(
            "note",
            "webhook",
            "no webhook of this project carries our secret: open its model settings once while the service runs, "
            "wait 30 s",
        )
    facts = look_up_service(settings)
    annotated = project.get("num_tasks_with_annotations") or 0
    if annotated and not isinstance(facts, Finding) and not any("ANNOTATION" in action for action in facts["events"]):
        yield Finding(
            "note",
            "webhook",
            f"the project has {annotated} annotated tasks, and no annotation was ever reported here. If they are "
            "younger than the connection: Label Studio drops webhooks to private addresses silently, unless it runs "
            "with LABEL_STUDIO_SSRF_PROTECTION_ENABLED=false",
        )


def _check_picture(
    settings: Settings, client: LabelStudioClient, config: LabelConfig, project_id: int
) -> Iterator[Finding]:
    from xsam_backend.labelstudio.images import ImageSource
    from xsam_backend.server.outside import fetch_policy

    task = next(client.tasks(project_id, page_size=1), None)
    if task is None:
        yield Finding("note", "picture", "the project has no task")
        return
    image = ImageSource(fetch_policy(settings), client).fetch(config.image_value(task["data"]), task["id"])
    height, width = image.size_hw
    yield Finding("ok", "picture", f"task {task['id']}: {image.format}, {width} x {height}")
