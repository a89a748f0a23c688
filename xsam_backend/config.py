"""Every setting of the service, in one frozen object. This module is the one reader of ``os.environ``.

A field ``label_studio_url`` is read from ``XSAM_BACKEND_LABEL_STUDIO_URL``; the CLI offers the same fields as options
and takes its help text from their descriptions. Secrets come from the environment or a file, never from an option,
because a command line can be read by every user of the machine. The file is one that Docker or Kubernetes mounts:
``/run/secrets/xsam_backend_label_studio_token``; the environment goes before it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableError

from xsam_backend.errors import SettingsError

ENV_PREFIX = "XSAM_BACKEND_"

SECRETS_DIR = Path("/run/secrets")
"""Where container engines mount secrets: one file each, named like the environment variable in lower case."""

RESERVED_THREADS = 4
"""Server threads that predictions never occupy, so that health checks and webhooks are answered at once."""


class Settings(BaseSettings):
    """What can be set. Build it with :func:`load_settings`, which words mistakes for operators."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(9090, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    model: str = Field(
        "tiny",
        description="Weights: a name ('tiny' ships with the package, others by 'models pull') or a folder.",
    )
    device: str = Field("auto", description="Where the model runs: auto, cpu, cuda, cuda:1, ...")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "four-bits"] = Field(
        "auto",
        description="Number format the model runs in; auto: bfloat16 on a GPU; elsewhere float32, but bfloat16 if "
        "the weights are stored so and the processor multiplies it, or has too little memory for float32. "
        "four-bits: the language model in a quarter of bfloat16's memory, all else in bfloat16; needs bitsandbytes "
        "(pip install '.[four-bits]' in the project's folder).",
    )
    compile: bool = Field(
        False,
        description="Compile encoders, connector and pixel decoder (torch.compile) when the model is loaded: that "
        "takes minutes and needs a C++ compiler; then pictures are encoded faster. Not with four-bits.",
    )
    data_dir: Path = Field(
        default_factory=lambda: Path("~/.local/share/xsam-backend").expanduser(),
        description="Folder for everything the service keeps: databases, webhook secret, pulled models.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of a shared database (PostgreSQL); without it, SQLite files in the data folder.",
    )
    artefacts_url: str | None = Field(
        None,
        description="Where services on several machines share versions and kept pictures, as fsspec takes it "
        "(s3://bucket/folder, file:///mnt/shared), credentials by the environment; without it, the data folder.",
    )

    label_studio_url: str | None = Field(
        None, description="Address of your Label Studio as this service reaches it, such as http://localhost:8080."
    )
    label_studio_token: SecretStr | None = Field(
        None, description="Access token of a Label Studio user (legacy or personal); sent to that address only."
    )
    label_studio_timeout_s: float = Field(
        30.0,
        gt=0,
        description="Longest wait for an answer of Label Studio's API to begin, in seconds; all of it must be there "
        "after twice that time.",
    )
    basic_auth_user: str | None = Field(
        None, description="User name that Label Studio must send (its backend form calls it basic auth)."
    )
    basic_auth_password: SecretStr | None = Field(None, description="Password that goes with the user name.")
    webhook_secret: SecretStr | None = Field(
        None,
        description="Root of the per-project webhook secrets; without it, one is made and kept in the data folder.",
    )

    local_files_root: Path | None = Field(
        None, description="Folder below which local files may be read directly; without it, none are."
    )
    allow_private_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Host names or networks (10.0.0.0/8) on private addresses that pictures may come from."
    )
    image_max_mb: int = Field(64, ge=1, description="Largest picture file, in megabytes.")
    image_max_megapixels: int = Field(80, ge=1, le=178, description="Largest picture, in millions of pixels.")
    image_timeout_s: float = Field(20.0, gt=0, description="Longest download of one picture, in seconds.")

    picture_cache_mb: int = Field(
        256,
        ge=0,
        description="Main memory for decoded pictures that were fetched in the last minutes, in megabytes; with "
        "prelabel, for those that are fetched ahead of the model.",
    )
    image_cache_mb: int = Field(
        2048, ge=0, description="Memory of the device for encoded pictures, in megabytes; without prefixes."
    )
    prefix_cache_mb: int = Field(
        2100,
        ge=0,
        description="Memory of the device for what the language model keeps of pictures (prefixes), in megabytes; at "
        "full size a picture takes about 700, and three are needed: the one worked on and the next two.",
    )
    encoder_cache_mb: int = Field(
        512,
        ge=0,
        description="Main memory for what the encoders make of pictures, in megabytes: it outlasts promotions.",
    )
    disk_cache_mb: int = Field(
        0, ge=0, description="The same on disk, in the data folder, across restarts; 0: not kept there."
    )
    ahead_tasks: int = Field(
        2,
        ge=0,
        le=100,
        description="So many tasks after the one that somebody is at are encoded while the model is idle, if Label "
        "Studio's address and token are set; 0: none.",
    )
    threads: int = Field(16, ge=RESERVED_THREADS + 1, le=256, description="Server threads.")
    wait_limit_s: float = Field(
        30.0,
        gt=0,
        description="Longest wait of a prediction for its turn on the model before it's told to come back.",
    )
    batch_limit_s: float = Field(
        75.0,
        gt=0,
        description="When a batch begins no further task: those are answered in the background, if Label Studio's "
        "address and token are set, else left for the next request. Label Studio waits 100 s in all, and the picture "
        "under way may take image_timeout_s more.",
    )
    sync_hours: int = Field(
        6,
        ge=0,
        description="Each project's annotations are compared with Label Studio's so often, in hours, if its address "
        "and token are set: an event that the network lost is known by nothing else; 0: only at the start and where "
        "an event is known to be missed.",
    )
    train_every: int = Field(
        0,
        ge=0,
        description="Fine-tune a project each time that so many annotations were accepted since its last job; 0: "
        "not by their number.",
    )
    train_schedule: str | None = Field(
        None,
        description="Fine-tune every project with news at these times: a cron expression in local time, such as "
        "'0 3 * * mon-fri'.",
    )
    train_worker: bool = Field(
        True,
        description="Start the process that fine-tunes from the service, when there is something to do; false where "
        "'jobs work' runs elsewhere.",
    )
    train_steps: int = Field(
        0, ge=0, description="Steps of a fine-tuning; 0: by the number of accepted pictures, 60 to 2000."
    )
    train_rehearsal: int = Field(
        40, ge=2, description="Drawn scenes on which a new version must not be worse than the one before."
    )
    train_tries: int = Field(
        5, ge=1, description="How often a fine-tuning is begun or gone on with if its process is killed, in all."
    )
    train_nice: int = Field(
        10, ge=0, le=19, description="How much that process steps back for others on the CPU (nice)."
    )
    versions_kept: int = Field(
        5,
        ge=1,
        description="So many of a project's newest versions keep their files after a fine-tuning, of those that "
        "passed the gate and of those that didn't, besides what answers and what a rollback leads to.",
    )
    train_four_bits: bool = Field(
        False,
        description="Fine-tune with the language model in four bits, for GPUs with little memory; needs "
        "bitsandbytes (pip install '.[four-bits]' in the project's folder). Versions are served as all others.",
    )
    train_memory_mb: int = Field(
        0, ge=0, description="Memory of that process at which its job fails, in megabytes; 0: whatever there is."
    )

    max_request_mb: int = Field(32, ge=1, description="Largest request body, in megabytes.")
    requests_per_minute: int = Field(
        0,
        ge=0,
        description="Most requests of a minute from one address, health and metrics not counted; 0: any number. "
        "Label Studio sends those of all its users from its own.",
    )
    failed_logins_per_minute: int = Field(
        20,
        ge=0,
        description="Most wrong passwords of a minute from one address, on whatever page; 0: any number.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="How much is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for people, or a JSON object a line for programs."
    )

    @field_validator("label_studio_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("expected an address like http://localhost:8080, without user name or query")
        return value.rstrip("/")

    @field_validator("port", mode="before")
    @classmethod
    def _of_ours(cls, value: Any) -> Any:
        """Kubernetes tells pods beside a service called xsam-backend its address by our own variable."""
        return cls.model_fields["port"].default if str(value).startswith("tcp://") else value

    @field_validator("allow_private_hosts", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """The environment has one text, with commas between."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("data_dir", "local_files_root")
    @classmethod
    def _expanded(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @model_validator(mode="after")
    def _pairs(self) -> Settings:
        if (self.basic_auth_user is None) != (self.basic_auth_password is None):
            raise ValueError(
                f"basic_auth_user and basic_auth_password: expected both or none, got one; the password comes from "
                f"{ENV_PREFIX}BASIC_AUTH_PASSWORD or the file {SECRETS_DIR}/basic_auth_password"
            )
        return self

    @property
    def shared_database_url(self) -> str | None:
        """The database that several services share, password included; None: files in the data folder."""
        return self.database_url.get_secret_value() if self.database_url else None

    @property
    def models_dir(self) -> Path:
        """Folder of the pulled models, each under its name."""
        return self.data_dir / "models"

    @property
    def pictures_dir(self) -> Path:
        """Folder of the pictures of annotated tasks, each under its hash."""
        return self.data_dir / "pictures"

    @property
    def versions_dir(self) -> Path:
        """Folder of what fine-tunings changed, each version under its name."""
        return self.data_dir / "versions"

    @property
    def encoded_dir(self) -> Path:
        """Folder of what encoders made of pictures; may be removed at any time."""
        return self.data_dir / "encoded"

    @property
    def jobs_dir(self) -> Path:
        """Folder of the fine-tunings' logs, and of the locks of the processes that run them."""
        return self.data_dir / "jobs"

    @property
    def prediction_slots(self) -> int:
        """How many prediction requests may be inside the service at once."""
        return self.threads - RESERVED_THREADS

    @property
    def batch_slots(self) -> int:
        """How many of those may be batches, so that clicks always find a place."""
        return max(1, self.prediction_slots // 2)

    @property
    def instance(self) -> str:
        """Name of the Label Studio that this service belongs to: part of every project key.

        Requests don't say credibly where they come from, so it is the configured address (host and port).
        """
        return urlsplit(self.label_studio_url).netloc if self.label_studio_url else "local"


def load_settings(**given: Any) -> Settings:
    """Settings from the environment, with ``given`` values (None: not given) on top.

    Raises:
        SettingsError: naming each wrong field, what was expected and its environment variable; a secret's file that
            can't be read; or a variable that looks like a misspelt one. (Others with the prefix may be somebody
            else's: Kubernetes makes some.)
    """
    for variable in sorted(os.environ):
        name = variable.removeprefix(ENV_PREFIX).lower()
        if variable.startswith(ENV_PREFIX) and name not in Settings.model_fields:
            meant = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.85)
            if meant:
                raise SettingsError(f"{variable} is no setting: did you mean {ENV_PREFIX}{meant[0].upper()}?")
    values = {name: value for name, value in given.items() if value is not None}
    if SECRETS_DIR.is_dir():  # named only where it exists: pydantic-settings warns of a folder that doesn't
        values["_secrets_dir"] = SECRETS_DIR
    try:
        return Settings(**values)
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            name = ".".join(str(part) for part in problem["loc"])
            words = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name} ({ENV_PREFIX}{name.upper()}): {words}" if name else words)
        raise SettingsError("settings do not work: " + "; ".join(lines)) from None
    except UnreadableError as error:  # of a file; the environment's are all texts
        raise SettingsError(
            f"a secret in {SECRETS_DIR} cannot be read ({error.__cause__}): let the service's user "
            f"(uid {os.getuid()}) read it"
        ) from error


def origins(settings: Settings, given: Mapping[str, Any]) -> dict[str, str]:
    """Where the value of each setting comes from: an option, a variable, a secret's file or nowhere ("default").

    Args:
        given: what ``load_settings`` was given.
    """
    found = {}
    for name in Settings.model_fields:
        variable = f"{ENV_PREFIX}{name.upper()}"
        if given.get(name) is not None:
            found[name] = f"--{name.replace('_', '-')}"
        elif name not in settings.model_fields_set:
            found[name] = "default"
        else:  # pydantic-settings doesn't tell; the environment goes before the files
            told = {told.upper() for told, value in os.environ.items() if value}
            found[name] = variable if variable in told else str(SECRETS_DIR / variable.lower())
    return found


def inherited_environment(*, without: tuple[str, ...] = ()) -> dict[str, str]:
    """This process's environment for a child process, less the variables whose names begin with one of these."""
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}


def keep_ray_on_loopback() -> None:
    """Unless RAY_ADDRESS names a cluster: let Ray, once it is imported, listen to this machine only, as by itself on
    Windows and macOS. On Linux it would listen to the whole network."""
    if not os.environ.get("RAY_ADDRESS"):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def environment_of(settings: Settings) -> dict[str, str]:
    """This process's environment, with variables that give a child process these very settings, options included."""
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return inherited_environment() | {
        f"{ENV_PREFIX}{name.upper()}": _as_text(value) for name, value in values.items() if value is not None
    }


def _as_text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value)
