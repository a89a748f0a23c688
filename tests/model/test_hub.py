"""Weights by name, with the real client, against a server that speaks the hub's protocol."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hub_server import HubServer, hub_server
from huggingface_hub import constants
from released_models import (
    ROWS,
    released_config,
    released_state,
    safetensors_bytes,
    tokenizer_files,
    torch_bytes,
)
from safetensors.torch import load_file

from xsam_backend.errors import CheckpointError
from xsam_backend.model.checkpoint import load_config, load_tokenizer
from xsam_backend.model.folders import CONFIG, WEIGHTS, model_folder
from xsam_backend.model.hub import Hub
from xsam_backend.model.hub_files import PARTIAL
from xsam_backend.model.pulling import pull
from xsam_backend.model.releases import RELEASES, Release
from xsam_backend.model.version import read_record

NAME = "hao9610/X-SAM"
WORDS = "microsoft/Phi-3-mini-4k-instruct"
STAGE = "s3_mixed_finetune/xsam_phi3_mini_4k_instruct_siglip2_so400m_p14_384_sam_large_m2f_gpu16_mixed_finetune"
WEIGHTS_PATH = f"{STAGE}/pytorch_model.bin"
CHUNK = 4096
"""Bytes that the client writes at a time; what it has of the next chunk is lost when the connection breaks."""

TOKEN = "hf_" + "s3cret" * 5


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The client's variables are read when it's imported: its cache, token and telemetry must be the test's."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """As it was released: a torch file."""
    return torch_bytes(released_state())


@pytest.fixture
def server(checkpoint: bytes) -> Iterator[HubServer]:
    """The released repository's layout (three stages, annotations of a data set), and the language model's."""
    with hub_server() as hub:
        hub.repositories[NAME] = {
            "README.md": b"# X-SAM",
            "s1_seg_finetune/xsam_sam_large/pytorch_model.bin": torch_bytes({"segmentor.logit_scale": torch.ones(1)}),
            WEIGHTS_PATH: checkpoint,
            f"{STAGE}/config.py": b"# theirs",
            "vgdseg_annotations/train.json": b"[]",
        }
        hub.repositories[WORDS] = {**tokenizer_files(), "config.json": b"{}", "model.safetensors": b"x" * 5000}
        yield hub


def a_pull(server: HubServer, target: Path, *, offline: bool = False, release: Release = RELEASES[NAME]) -> bool:
    hub = Hub(server.url, offline=offline)
    return pull(hub, NAME, release, released_config(), target)


def test_a_released_repository_becomes_a_model_that_its_name_finds(server: HubServer, tmp_path: Path) -> None:
    server.pages = 2
    assert a_pull(server, tmp_path / "models" / NAME)
    folder = model_folder(NAME, tmp_path / "models")
    assert folder == tmp_path / "models" / NAME
    tensors = load_file(folder / WEIGHTS)
    assert torch.equal(tensors["background.weight"], released_state()["bg_embeds.weight"])
    assert load_config(folder) == released_config()
    assert load_tokenizer(folder).convert_tokens_to_ids(["<SEG>", "<p>", "</p>"]) == [525, 526, 527]
    record = read_record(folder / WEIGHTS)
    assert record is not None
    assert record.sha256 == hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert record.source == f"{NAME} at {server.commit(NAME)}, {WEIGHTS_PATH}, bfloat16, tokenizer of {WORDS}"
    # Neither other stages nor the language model's weights were fetched.
    assert len(server.downloads("pytorch_model.bin")) == 1
    assert not server.downloads("model.safetensors")


def test_what_is_here_is_not_fetched_again_unless_damaged(server: HubServer, tmp_path: Path) -> None:
    target = tmp_path / "model"
    assert a_pull(server, target)
    before = (target / WEIGHTS).read_bytes()
    assert not a_pull(server, target)
    (target / WEIGHTS).write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert a_pull(server, target)
    assert (target / WEIGHTS).read_bytes() == before
    assert len(server.downloads("pytorch_model.bin")) == 1  # the second time it came from the cache


@pytest.mark.parametrize("damage", ["", "{}", None], ids=["cut off", "another file", "lost"])
@pytest.mark.parametrize("name", ["tokenizer.json", CONFIG])
def test_a_folder_whose_small_files_are_damaged_is_converted_again(
    name: str, damage: str | None, server: HubServer, tmp_path: Path
) -> None:
    target = tmp_path / "model"
    a_pull(server, target)
    before = (target / name).read_bytes()
    if damage is None:
        (target / name).unlink()
    else:
        (target / name).write_text(damage)
    assert a_pull(server, target)
    assert (target / name).read_bytes() == before


def test_another_tokenizer_or_other_sizes_are_another_model(server: HubServer, tmp_path: Path) -> None:
    target = tmp_path / "model"
    a_pull(server, target)
    server.repositories["me/words"] = server.repositories[WORDS]
    assert a_pull(server, target, release=replace(RELEASES[NAME], tokenizer="me/words"))
    other = replace(released_config(), name="renamed")
    again = replace(RELEASES[NAME], tokenizer="me/words")
    assert pull(Hub(server.url), NAME, again, other, target)
    assert load_config(target).name == "renamed"
    assert not pull(Hub(server.url), NAME, again, other, target)


def test_a_newer_commit_replaces_the_model(server: HubServer, tmp_path: Path) -> None:
    target = tmp_path / "model"
    a_pull(server, target)
    before = (target / WEIGHTS).read_bytes()
    state = {**released_state(), "bg_embeds.weight": torch.ones_like(released_state()["bg_embeds.weight"])}
    server.repositories[NAME][WEIGHTS_PATH] = torch_bytes({"state_dict": state, "meta": {"epoch": 1}})
    assert a_pull(server, target)
    assert (target / WEIGHTS).read_bytes() != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".model")] == []


def test_shards_with_an_index(server: HubServer, tmp_path: Path) -> None:
    state = released_state()
    names = sorted(state)
    shards = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}
    index = {"weight_map": {name: shard for shard, inside in shards.items() for name in inside}}
    server.repositories[NAME] = {
        **{shard: safetensors_bytes({name: state[name] for name in inside}) for shard, inside in shards.items()},
        "model.safetensors.index.json": json.dumps(index).encode(),
        **tokenizer_files(),
    }
    a_pull(server, tmp_path / "model", release=Release("phi3", tokenizer=""))
    assert torch.equal(load_file(tmp_path / "model" / WEIGHTS)["background.weight"], state["bg_embeds.weight"])


def test_a_broken_connection_is_taken_up_again_at_once(server: HubServer, tmp_path: Path, checkpoint: bytes) -> None:
    half = len(checkpoint) // 2 // CHUNK * CHUNK
    server.cuts[WEIGHTS_PATH] = [half + 100]
    a_pull(server, tmp_path / "model")
    first, second = server.downloads("pytorch_model.bin")
    assert first is None
    assert second == f"bytes={half}-"
    assert torch.equal(
        load_file(tmp_path / "model" / WEIGHTS)["background.weight"], released_state()["bg_embeds.weight"]
    )


def test_what_an_interrupted_command_has_is_not_downloaded_again(
    server: HubServer, tmp_path: Path, checkpoint: bytes
) -> None:
    half = len(checkpoint) // 2 // CHUNK * CHUNK
    server.cuts[WEIGHTS_PATH] = [half + 100, *[0] * 20]
    with pytest.raises(CheckpointError, match=r"broke off .* run the command again, it goes on where it stopped"):
        a_pull(server, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (partial,) = (tmp_path / "cache").rglob(f"*{PARTIAL}")
    assert partial.stat().st_size == half
    server.cuts.clear()
    server.asked.clear()
    a_pull(server, tmp_path / "model")
    assert server.downloads("pytorch_model.bin") == [f"bytes={half}-"]
    assert not list((tmp_path / "cache").rglob(f"*{PARTIAL}"))


def test_a_server_that_sends_the_whole_again_is_taken_at_its_word(
    server: HubServer, tmp_path: Path, checkpoint: bytes
) -> None:
    server.cuts[WEIGHTS_PATH] = [len(checkpoint) // 2, *[0] * 20]
    with pytest.raises(CheckpointError, match="broke off"):
        a_pull(server, tmp_path / "model")
    assert list((tmp_path / "cache").rglob(f"*{PARTIAL}"))
    server.cuts.clear()
    server.knows_ranges = False
    a_pull(server, tmp_path / "model")
    (cached,) = (tmp_path / "cache").rglob("pytorch_model.bin")
    assert cached.read_bytes() == checkpoint


def test_a_damaged_large_file_is_refused_and_removed(server: HubServer, tmp_path: Path) -> None:
    server.damaged.add(WEIGHTS_PATH)
    with pytest.raises(
        CheckpointError, match=r"came damaged from http://127\.0\.0\.1:\d+ \(expected hash .* try again"
    ):
        a_pull(server, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size > 10_000]
    server.damaged.clear()
    assert a_pull(server, tmp_path / "model")


def test_a_damaged_small_file_is_refused_and_removed(server: HubServer, tmp_path: Path) -> None:
    small = b'{"tokenizer_class": "PreTrainedTokenizerFast"}'
    server.repositories[WORDS]["tokenizer_config.json"] = small
    server.damaged.add("tokenizer_config.json")
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json of microsoft/.* came damaged"):
        a_pull(server, tmp_path / "model")
    assert not list((tmp_path / "cache").rglob("tokenizer_config.json"))


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(server: HubServer, tmp_path: Path) -> None:
    a_pull(server, tmp_path / "model")
    (cached,) = (tmp_path / "cache").rglob("pytorch_model.bin")
    content = cached.read_bytes()
    cached.resolve().write_bytes(content[:-1])
    hub = Hub(server.url)
    assert hub.fetch(hub.listing(NAME), WEIGHTS_PATH).read_bytes() == content
    assert len(server.downloads("pytorch_model.bin")) == 2


def test_offline_works_from_the_cache_and_asks_nobody(server: HubServer, tmp_path: Path) -> None:
    a_pull(server, tmp_path / "first")
    server.asked.clear()
    a_pull(server, tmp_path / "second", offline=True)
    assert server.asked == []
    assert (tmp_path / "second" / WEIGHTS).read_bytes() == (tmp_path / "first" / WEIGHTS).read_bytes()


def test_offline_a_damaged_cache_is_told(server: HubServer, tmp_path: Path) -> None:
    a_pull(server, tmp_path / "first")
    (cached,) = (tmp_path / "cache").rglob("pytorch_model.bin")
    content = cached.read_bytes()
    cached.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"in the cache is damaged .* run the command once with network"):
        a_pull(server, tmp_path / "second", offline=True)
    assert not cached.exists()


@pytest.mark.parametrize("how", ["option", "variable"])
def test_offline_without_a_cache_says_what_to_do(
    how: str, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "variable")
    with pytest.raises(CheckpointError, match=r"is not in the cache .* run the command once with network"):
        a_pull(server, tmp_path / "model", offline=how == "option")
    assert server.asked == []


def test_a_repository_that_is_not_there(server: HubServer) -> None:
    with pytest.raises(
        CheckpointError, match=r"me/it at http.*: no such repository, or a private one: check the name"
    ):
        Hub(server.url).listing("me/it")


def test_a_gated_repository(server: HubServer) -> None:
    server.gated.add(NAME)
    with pytest.raises(CheckpointError, match=r"is gated: accept its conditions .* `hf auth login`, or set HF_TOKEN"):
        Hub(server.url).listing(NAME)


def test_a_revision_that_is_not_there(server: HubServer) -> None:
    with pytest.raises(CheckpointError, match="has no revision 'v9': give a branch, tag or commit"):
        Hub(server.url).listing(NAME, "v9")


def test_no_network(tmp_path: Path) -> None:
    with hub_server() as gone:
        address = gone.url
    with pytest.raises(CheckpointError, match=r"cannot be reached.*ConnectError.* --endpoint, the cache alone with"):
        Hub(address).listing(NAME)


def test_no_name_of_a_repository(server: HubServer) -> None:
    with pytest.raises(CheckpointError, match="'a/b/c' is no name of a repository"):
        Hub(server.url).listing("a/b/c")


@pytest.mark.parametrize("page", [b"<html>log in</html>", b"[1]", b"{}"], ids=["a login page", "a list", "nothing"])
def test_somebody_who_is_no_hub(page: bytes, server: HubServer) -> None:
    server.page = page
    with pytest.raises(
        CheckpointError, match=r"expected the answers of a model hub, .* a login page answer in its place"
    ):
        Hub(server.url).listing(NAME)


def everything_below(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


OUTSIDE = "../../../escaped"


@pytest.mark.parametrize(
    ("path", "lie"),
    [
        (WEIGHTS_PATH, {"lfs": {"oid": f"{OUTSIDE}/large", "size": 5000, "pointerSize": 134}}),
        ("README.md", {"oid": f"{OUTSIDE}/small"}),
        ("README.md", {"path": f"{OUTSIDE}/README.md"}),
        ("README.md", {"path": "/escaped"}),
        ("README.md", {"size": -1}),
        ("README.md", {"size": "many"}),
    ],
    ids=["hash of a large file", "hash of a small file", "path", "absolute path", "negative size", "no size"],
)
def test_names_of_a_lying_mirror_lead_nowhere(
    path: str, lie: dict[str, object], server: HubServer, tmp_path: Path
) -> None:
    server.lies[path] = lie
    with pytest.raises(CheckpointError, match=r"expected the answers of a model hub, got something else"):
        a_pull(server, tmp_path / "a" / "b" / "model")
    assert not everything_below(tmp_path)


def test_a_commit_of_a_lying_mirror_leads_nowhere(server: HubServer, tmp_path: Path) -> None:
    server.commit_lie = OUTSIDE
    with pytest.raises(CheckpointError, match=r"a commit of the name '\.\./\.\./\.\./escaped'"):
        a_pull(server, tmp_path / "model")
    assert not everything_below(tmp_path)


def test_a_lying_mirror_does_not_choose_a_blobs_name(server: HubServer, tmp_path: Path) -> None:
    """The client alone would write wherever the ETag says."""
    server.etag = f"{OUTSIDE}/small"
    a_pull(server, tmp_path / "model")
    assert {path.parts[0] for path in everything_below(tmp_path)} == {"cache", "model"}
    blobs = [path for path in (tmp_path / "cache").glob("*/blobs/*")]
    assert len(blobs) == 3
    assert all(set(path.name) <= set("0123456789abcdef") for path in blobs)


@pytest.mark.parametrize(
    ("wrong_by", "words"),
    [
        (-10, r"came damaged from .* \(expected [\d,]+ bytes, got more\)"),
        (10, r"sent fewer bytes than it lists: run the command again"),
    ],
    ids=["more than listed", "less than listed"],
)
def test_another_number_of_bytes_than_listed(
    wrong_by: int, words: str, server: HubServer, tmp_path: Path, checkpoint: bytes
) -> None:
    lfs = {"oid": hashlib.sha256(checkpoint).hexdigest(), "size": len(checkpoint) + wrong_by, "pointerSize": 134}
    server.lies[WEIGHTS_PATH] = {"lfs": lfs}
    with pytest.raises(CheckpointError, match=words):
        a_pull(server, tmp_path / "model")
    kept = [path.stat().st_size for path in (tmp_path / "cache").rglob(f"*{PARTIAL}")]
    assert kept == ([] if wrong_by < 0 else [len(checkpoint)])


def test_a_blob_that_others_left_is_compared_too(server: HubServer, tmp_path: Path, checkpoint: bytes) -> None:
    """It was damaged since, and a newer commit has the same file."""
    a_pull(server, tmp_path / "model")
    (cached,) = (tmp_path / "cache").rglob("pytorch_model.bin")
    cached.resolve().write_bytes(checkpoint[:-1] + bytes([checkpoint[-1] ^ 1]))
    server.repositories[NAME]["README.md"] = b"# X-SAM, told better"
    hub = Hub(server.url)
    assert hub.fetch(hub.listing(NAME), WEIGHTS_PATH).read_bytes() == checkpoint


def test_a_cache_that_cannot_be_written(server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(CheckpointError, match=r"cannot be written to the cache \(\[Errno 20\] Not a directory"):
        a_pull(server, tmp_path / "model")


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("mirror.example", "expected an address like https://mirror.example, got 'mirror.example'"),
        ("ftp://mirror.example", "expected an address"),
        ("https://", "expected an address"),
        (f"https://me:{TOKEN}@mirror.example", "has a user name or password in it"),
        (f"{TOKEN}@mirror.example", "has a user name or password in it"),
    ],
)
def test_an_endpoint_that_cannot_be_one(endpoint: str, words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as error:
        Hub(endpoint)
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize("revision", ["../../escaped", "/escaped", "", "a/../../b"])
def test_a_revision_that_cannot_be_one(revision: str, server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no revision of .*: give a branch, tag or commit"):
        Hub(server.url).listing(NAME, revision)
    assert not everything_below(tmp_path)


def test_a_full_disk_is_told_before_the_download(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xsam_backend.model.hub_files.shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin needs .* GB more, .* set HF_HOME to another disk"):
        a_pull(server, tmp_path / "model")
    assert not server.downloads("pytorch_model.bin")


def test_the_token_goes_to_the_hub_only_and_into_no_log(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.cuts[WEIGHTS_PATH] = [1000, *[0] * 20]
    said: list[str] = []
    with caplog.at_level(logging.DEBUG), pytest.raises(CheckpointError) as error:
        pull(Hub(server.url, say=said.append), NAME, RELEASES[NAME], released_config(), tmp_path / "model")
    with_token = [asked.path for asked in server.asked if TOKEN in asked.headers.get("authorization", "")]
    assert with_token
    assert not [path for path in with_token if path.startswith("/large/")]
    assert [asked for asked in server.asked if asked.path.startswith("/large/")]
    assert TOKEN not in caplog.text + str(error.value) + "".join(said)


def test_a_tokenizer_of_another_model_is_refused(server: HubServer, tmp_path: Path) -> None:
    raw = json.loads(server.repositories[WORDS]["tokenizer.json"])
    raw["added_tokens"].append({**raw["added_tokens"][-1], "id": 525, "content": "<|more|>"})
    server.repositories[WORDS]["tokenizer.json"] = json.dumps(raw).encode()
    with pytest.raises(CheckpointError, match=rf"a tokenizer of 529 entries.* weights of {ROWS} rows"):
        a_pull(server, tmp_path / "model")
    assert not (tmp_path / "model").exists()


class Command:
    """`models pull` in a process of its own, since the client reads HF_ENDPOINT and HF_HOME when it's imported."""

    def __init__(self, server: HubServer, folder: Path) -> None:
        (folder / "config.json").write_text(released_config().to_json())
        self.words = ["models", "pull", NAME, "--variant", str(folder / "config.json")]
        self.models = folder / "data" / "models"
        self.cache = folder / "hub"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XSAM_"))},
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(self.cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TQDM_POSITION": "-1",  # a progress bar even where nobody looks
            "XSAM_BACKEND_DATA_DIR": str(folder / "data"),
        }

    def run(self) -> subprocess.CompletedProcess[str]:
        """To its end."""
        command = [sys.executable, "-m", "xsam_backend", *self.words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def start(self) -> subprocess.Popen[bytes]:
        """With the client writing small pieces, as this small model wants."""
        program = f"from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {CHUNK}\n"
        program += "from xsam_backend.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, *self.words], env=self.environment, stderr=subprocess.DEVNULL
        )


def test_the_command_fetches_from_the_mirror_of_the_environment(server: HubServer, tmp_path: Path) -> None:
    command = Command(server, tmp_path)
    done = command.run()
    assert done.returncode == 0, done.stderr
    assert f"{NAME} is version small-released-" in done.stdout
    assert "pytorch_model.bin" in done.stderr
    assert "100%" in done.stderr  # the progress bar
    assert (command.models / NAME / WEIGHTS).is_file()


def test_a_command_that_is_killed_goes_on_at_the_next_start(
    server: HubServer, tmp_path: Path, checkpoint: bytes
) -> None:
    command = Command(server, tmp_path)
    server.stalls[WEIGHTS_PATH] = len(checkpoint) // 2
    process = command.start()
    try:
        end, pause = time.monotonic() + 300, threading.Event()  # time.sleep is the client's, and does nothing here
        while not (kept := [path for path in command.cache.rglob(f"*{PARTIAL}") if path.stat().st_size > 10 * CHUNK]):
            assert time.monotonic() < end
            assert process.poll() is None
            pause.wait(0.05)
    finally:
        process.kill()
        process.wait()
    size = kept[0].stat().st_size
    assert not command.models.exists()
    server.stalls.clear()
    server.asked.clear()
    done = command.run()
    assert done.returncode == 0, done.stderr
    assert server.downloads("pytorch_model.bin") == [f"bytes={size}-"]
    assert (command.models / NAME / WEIGHTS).is_file()
