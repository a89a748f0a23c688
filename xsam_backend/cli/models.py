"""``models``: the weights that are here, those that can be fetched by name, and what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xsam_backend.cli.model_versions import diff, promote, prune, rollback, show, version_lines
from xsam_backend.cli.options import settings_options
from xsam_backend.config import load_settings
from xsam_backend.errors import CheckpointError

if TYPE_CHECKING:  # torch takes seconds to import
    from xsam_backend.model.config import XSamConfig
    from xsam_backend.model.facts import ModelFacts, ReleasedFacts

FORMATS = click.Choice(["stored", "float32", "bfloat16", "float16"])
VARIANT = "Sizes: phi3 (the released X-SAM), qwen3-1.7b, qwen3-4b, or a config.json."


@click.group("models")
def command() -> None:
    """List, fetch, convert and look into weights."""


@command.command("list")
@settings_options("data_dir")
def list_models(**given: Any) -> None:
    """The shipped model and those in the models folder: name, version, size, number format, folder. Then the versions
    that fine-tunings made: name, state, project, what it went on from."""
    settings = load_settings(**given)
    from xsam_backend.model.checkpoint import model_version
    from xsam_backend.model.folders import WEIGHTS, folders_by_name
    from xsam_backend.model.precision import main_dtype, stored_layout

    for name, folder in folders_by_name(settings.models_dir).items():
        weights = folder / WEIGHTS
        try:
            facts = f"{model_version(folder)}  {_size(weights.stat().st_size)}  {main_dtype(stored_layout(weights))}"
        except CheckpointError as error:
            facts = f"cannot be used: {error}"
        click.echo(f"{name}  {facts}  {folder}")
    for line in version_lines(settings):
        click.echo(line)


for _of_versions in (show, diff, promote, rollback, prune):
    command.add_command(_of_versions)


@command.command("pull")
@click.argument("name")
@click.option("--revision", default="main", show_default=True, help="Branch, tag or commit of the repository.")
@click.option("--variant", help=f"{VARIANT} Known for hao9610/X-SAM.")
@click.option("--subfolder", help="Folder of the repository that holds the weights, at any depth.")
@click.option("--tokenizer", help="Repository of the language model's tokenizer, where NAME has none.")
@click.option(
    "--dtype", type=FORMATS, default="bfloat16", show_default=True, help="Number format to keep; stored: as it came."
)
@click.option("--endpoint", help="Address of a mirror; as HF_ENDPOINT, which the hub's client reads.")
@click.option("--offline", is_flag=True, help="Use only what the hub's cache has; as HF_HUB_OFFLINE=1.")
@settings_options("data_dir")
def pull_model(
    name: str,
    revision: str,
    variant: str | None,
    subfolder: str | None,
    tokenizer: str | None,
    dtype: str,
    endpoint: str | None,
    offline: bool,
    **given: Any,
) -> None:
    """Fetch the repository NAME, such as hao9610/X-SAM, and convert it, so that `serve --model NAME` finds it.

    A download that broke off goes on where it stopped; every file is compared with its hash. The hub's client keeps
    its files in its own cache and takes a token from HF_TOKEN or `hf auth login`.
    """
    settings = load_settings(**given)
    from xsam_backend.model.checkpoint import model_version
    from xsam_backend.model.folders import REPOSITORY
    from xsam_backend.model.hub import Hub
    from xsam_backend.model.pulling import pull
    from xsam_backend.model.releases import RELEASES, Release

    if not REPOSITORY.fullmatch(name):
        raise click.BadParameter(f"expected a repository such as hao9610/X-SAM, got {name!r}", param_hint="NAME")
    known = RELEASES.get(name, Release("", ""))
    if not (variant or known.variant):
        raise click.UsageError(
            f"{name}: give --variant, the sizes of its model; known are those of {', '.join(RELEASES)}"
        )
    release = Release(
        variant or known.variant,
        known.tokenizer if tokenizer is None else tokenizer,
        known.subfolder if subfolder is None else subfolder,
    )
    target = settings.models_dir / name
    hub = Hub(endpoint, offline, say=_say)
    if pull(hub, name, release, _config(release.variant), target, revision=revision, dtype=dtype):
        click.echo(f"{name} is version {model_version(target)}, in {target}")
    else:
        click.echo(f"{name} is here already: version {model_version(target)}, in {target}")


@command.command("convert")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--variant", default="phi3", show_default=True, help=VARIANT)
@click.option(
    "--tokenizer",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the language model's tokenizer.json; without it, SOURCE's folder.",
)
@click.option(
    "--dtype", type=FORMATS, default="stored", show_default=True, help="Number format to keep; stored: as it is."
)
def convert_model(source: Path, dest: Path, variant: str, tokenizer: Path | None, dtype: str) -> None:
    """Write the released checkpoint SOURCE (a file, an index of shards, or a folder) as the model folder DEST."""
    from xsam_backend.model.checkpoint import model_version
    from xsam_backend.model.conversion import convert

    words = tokenizer or (source if source.is_dir() else source.parent)
    if not (words / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{words}: expected tokenizer.json, found none: give the folder of the language model's tokenizer with "
            "--tokenizer (for phi3 that of microsoft/Phi-3-mini-4k-instruct)"
        )
    convert(source, dest, _config(variant), words, dtype=dtype, say=_say)
    click.echo(f"{dest} is version {model_version(dest)}: use it with --model {dest}")


@command.command("info")
@click.argument("name")
@click.option("--verify", is_flag=True, help="Read all weights and compare their hash with the recorded one.")
@settings_options("data_dir")
def info(name: str, verify: bool, **given: Any) -> None:
    """Sizes, parameters, memory, version and tokenizer of NAME: a name or folder as for --model, or a released file.

    Of a released checkpoint: its naming, whether it is complete, and what is missing.
    """
    settings = load_settings(**given)
    from xsam_backend.model.facts import model_facts, released_facts
    from xsam_backend.model.folders import CONFIG, WEIGHTS, model_folder
    from xsam_backend.model.version import verify_weights

    path = Path(name)
    ours = any(
        (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file() for folder in (settings.models_dir / name, path)
    )  # others have a config.json beside their weights too
    if path.exists() and not ours:
        if verify:
            raise click.UsageError("--verify is for converted models: a released file has no recorded hash")
        lines = _released_lines(released_facts(path))
    else:
        folder = model_folder(name, settings.models_dir)
        lines = _model_lines(model_facts(folder))
        if verify:
            lines.append(("verified", f"SHA-256 {verify_weights(folder / WEIGHTS)}, as recorded"))
    width = max(len(key) for key, _ in lines)
    for key, value in lines:
        click.echo(f"{key:<{width}}  {value}")


def _model_lines(facts: ModelFacts) -> list[tuple[str, str]]:
    config = facts.config
    language = config.language
    return [
        ("version", facts.version),
        ("folder", str(facts.folder)),
        *([("source", facts.source)] if facts.source else []),
        (
            "language model",
            f"{language['model_type']}, {language['num_hidden_layers']} layers of {language['hidden_size']}, "
            f"{language['vocab_size']} rows, chats as {config.chat_template}",
        ),
        ("vision encoder", f"{config.vision.kind}, {config.vision.image_size} px"),
        ("segmentor encoder", f"{config.segmentor_encoder.kind}, {config.segmentor_encoder.image_size} px"),
        ("mask decoder", f"{config.segmentor.num_queries} queries, {config.segmentor.decoder_layers - 1} layers"),
        *_parameter_lines(facts.parameters),
        ("stored", f"{facts.dtype}, {_size(facts.weights_bytes)}"),
        (
            "memory",
            f"weights {_size(facts.memory_bytes('bfloat16'))} in bfloat16, {_size(facts.memory_bytes('float32'))} in "
            f"float32; {_size(facts.prefix_bytes)} more per cached picture, and what computing takes",
        ),
        ("tokenizer", f"{facts.vocabulary} entries; " + ", ".join(f"{t} {n}" for t, n in facts.special.items())),
    ]


def _released_lines(facts: ReleasedFacts) -> list[tuple[str, str]]:
    whole = f"fits {facts.variant}: `xsam-backend models convert {facts.path} FOLDER --variant {facts.variant}`"
    return [
        ("checkpoint", str(facts.path)),
        ("naming", f"{facts.naming}; not converted"),
        ("complete", f"yes, {whole}" if not facts.problems else f"no; nearest is {facts.variant}: {facts.problems}"),
        *_parameter_lines(facts.parameters),
        ("stored", facts.dtype),
    ]


def _parameter_lines(parameters: Any) -> list[tuple[str, str]]:
    parts = ", ".join(f"{part} {count / 1e6:.1f}" for part, count in parameters.items())
    return [("parameters", f"{sum(parameters.values()) / 1e6:.1f} million: {parts}")]


def _config(variant: str) -> XSamConfig:
    """A shipped variant, or that of a JSON file."""
    from xsam_backend.model.config import XSamConfig

    path = Path(variant)
    if not variant.endswith(".json"):
        return XSamConfig.variant(variant)
    try:
        return XSamConfig.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as a config ({error})") from error


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"


def _say(words: str) -> None:
    click.echo(words, err=True)
