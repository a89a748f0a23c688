"""Command-line options made from the settings' fields, so that help and settings cannot drift apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from xsam_backend.config import ENV_PREFIX, SECRETS_DIR, Settings

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def is_secret(field: FieldInfo) -> bool:
    """Whether a field holds a secret; those have no option, because everybody can read a command line."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def option_names() -> tuple[str, ...]:
    """Fields that have an option."""
    return tuple(name for name, field in Settings.model_fields.items() if not is_secret(field))


def secrets_help() -> str:
    """One line per secret field with its environment variable, for the end of a help page."""
    lines = [
        f"{ENV_PREFIX}{name.upper()}: {field.description}"
        for name, field in Settings.model_fields.items()
        if is_secret(field)
    ]
    return (
        f"Secrets come from the environment, or from files in {SECRETS_DIR} named like the variable in lower case:"
        "\n\n" + "\n\n".join(lines)
    )


def settings_options(*names: str) -> Callable[[CommandT], CommandT]:
    """A decorator that adds the options of the named fields (all that have one, without names).

    A value that isn't given stays None, so that ``load_settings(**given)`` takes it from the environment.
    """

    def decorate(command: CommandT) -> CommandT:
        for name in reversed(names or option_names()):
            command = _option(name, Settings.model_fields[name])(command)
        return command

    return decorate


def _option(name: str, field: FieldInfo) -> Callable[[CommandT], CommandT]:
    default = "" if field.default_factory is None and field.default in (None, ()) else f"  [{_default(field)}]"
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=_type(field.annotation),
        multiple=get_origin(field.annotation) is tuple,
        callback=(lambda _ctx, _param, value: value or None) if get_origin(field.annotation) is tuple else None,
        default=None,
        help=f"{field.description}{default}",
    )


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return str(value).replace(str(value.home()), "~") if hasattr(value, "home") else str(value)


def _type(annotation: Any) -> click.ParamType[Any] | type:
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation), case_sensitive=False)
    return annotation if annotation in (int, float) else str
