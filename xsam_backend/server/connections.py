"""What happens when Label Studio connects a project: the setup request, under whatever server it arrives."""

from __future__ import annotations

from xsam_backend.errors import LabelConfigError, StoreError
from xsam_backend.labelstudio.egress import redacted
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.server.protocol import SetupRequest
from xsam_backend.server.services import Services
from xsam_backend.store.projects import ProjectKey


def set_up(parts: Services, asked: SetupRequest, own_host: str) -> str:
    """Remember the project, as far as a request that anybody can send may be believed; the model version for the
    reply.

    Never fails over a label config: Label Studio would show "not a valid ML backend", without our words, and ask
    for no prediction any more.

    Args:
        own_host: the request's Host header, by which Label Studio's webhook row is known as ours.

    Raises:
        RequestError: the project has another form than "<id>.<creation second>".
    """
    parts.monitor.setups.inc()
    key = ProjectKey.from_uid(parts.settings.instance, asked.project)
    readable = None
    try:
        config = LabelConfig.parse(asked.label_config)
        readable = asked.label_config
        config.outputs_on(config.image().name)
    except LabelConfigError as error:
        parts.monitor.note("LabelConfigError", f"project {key}", str(error))
    try:
        if parts.projects.hear_of(key, readable):
            parts.collecting.wake()
    except StoreError as error:
        parts.monitor.note(type(error).__name__, "setup", str(error))
    _compare_addresses(parts, asked.hostname)
    if parts.webhook_guard is not None:
        parts.webhook_guard.after_setup(key, own_host)
    return parts.engine.predictor_of(str(key)).model_version


def _compare_addresses(parts: Services, hostname: str) -> None:
    """Tell the operator where Label Studio says it is. It is only told, never used: anyone can send a setup."""
    said = redacted(hostname.rstrip("/"))
    configured = parts.settings.label_studio_url
    if said and configured is None:
        parts.monitor.note(
            "LabelStudioUrlMissing",
            "setup",
            f"a Label Studio that says it is at {said} has connected, but label_studio_url is not set: uploaded "
            "pictures cannot be fetched until it and label_studio_token are",
        )
    elif said and said != configured:
        parts.monitor.note(
            "LabelStudioUrlDiffers",
            "setup",
            f"a setup says it comes from {said}, label_studio_url is {configured}: fine if both are one Label Studio",
        )
