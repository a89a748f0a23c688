"""The recipe of the shipped model, ``tiny``: its sizes, where its weights start, and what it's trained on.

``python -m xsam_backend.training.tiny --data ../shared/data --run runs/tiny --steps 6000`` trains or resumes;
with ``--export FOLDER`` the averaged weights are written there at the end. ``--start-from`` takes a model folder
instead of pretrained parts. Started by ``torchrun --nproc-per-node N -m -- xsam_backend.training.tiny ...``, N
processes share each step's pictures: on a CPU one per core, with ``OMP_NUM_THREADS=1``, is faster than many threads.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist

from xsam_backend.evaluation.datasets.coco_folder import CocoFolder
from xsam_backend.model.checkpoint import SHIPPED, load_model, load_tokenizer, save_model
from xsam_backend.model.config import (
    ConnectorConfig,
    LossConfig,
    SegmentorConfig,
    SegmentorEncoderConfig,
    VisionConfig,
    XSamConfig,
)
from xsam_backend.model.efficientnet import PIXEL_MEAN, PIXEL_STD
from xsam_backend.model.vision import EfficientNetEncoder
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task
from xsam_backend.scenes.vocabulary import COLOURS, PATTERN_WORDS, STUFF_NAMES, THING_NAMES
from xsam_backend.training.batch import PLACE_WORDS
from xsam_backend.training.initialization import initialize_segmentor
from xsam_backend.training.looking import begin_looking
from xsam_backend.training.loop import LoopSettings, train
from xsam_backend.training.pretrained import load_pretrained_trunk
from xsam_backend.training.sources import Part, Photos, QuestionSet, Scenes
from xsam_backend.training.token_embeddings import token_embeddings

SIDE = 320
WIDTH = 256

PHOTO_QUESTIONS: dict[Task, float] = {Task.INTERACTIVE: 5, Task.GENERIC: 1, Task.REFERRING: 2, Task.VGD: 1}
SPARSE_QUESTIONS: dict[Task, float] = {Task.INTERACTIVE: 4, Task.REFERRING: 1, Task.GENERIC: 1}
SCENE_QUESTIONS: dict[Task, float] = {
    Task.INTERACTIVE: 2,
    Task.REFERRING: 8,
    Task.VGD: 1,
    Task.GENERIC: 1,
    Task.REASONING: 0.5,
    Task.GCG: 0.35,
    Task.CONVERSATION: 0.25,
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
TUNING_EVERY = 10
"""Every tenth training photo is set aside for tuning; it's never trained on."""
LOOKED_AT = 12
"""So many pictures tell pictures' tokens from text, where the language layers begin anew."""


def tiny_config(vocabulary: int) -> XSamConfig:
    """Sizes: about ten million parameters."""
    return XSamConfig(
        name="tiny",
        language={
            "model_type": "phi3",
            "vocab_size": vocabulary,
            "hidden_size": WIDTH,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 2048,
            "original_max_position_embeddings": 2048,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision=VisionConfig("shared", 224, mean=PIXEL_MEAN, std=PIXEL_STD),
        segmentor_encoder=SegmentorEncoderConfig(
            "efficientnet",
            SIDE,
            mean=PIXEL_MEAN,
            std=PIXEL_STD,
            transformers={
                "hidden_size": 192,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "mlp_dim": 512,
                "use_rel_pos": False,
                "global_attn_indexes": [0, 1],
            },
        ),
        connector=ConnectorConfig((24, 40, 192, 320), (1.0, 1.0, 1.0, 1.0), (64, 96, 96, 96), 64),
        segmentor=SegmentorConfig(
            feature_size=96,
            mask_feature_size=64,
            hidden_dim=96,
            num_queries=40,
            num_attention_heads=6,
            encoder_layers=2,
            encoder_feedforward_dim=384,
            decoder_layers=7,
            dim_feedforward=384,
        ),
        losses=LossConfig(num_points=512),
        chat_template="phi3_chat",
        max_text_tokens=512,
        close_up_share=0.5,
    )


def start(tokenizer: Any, seed: int) -> XSam:
    """Random weights but for the image trunk (ImageNet) and the token embeddings (all-MiniLM-L6-v2)."""
    torch.manual_seed(seed)
    model = XSam(tiny_config(len(tokenizer)))
    assert isinstance(model.segmentor_encoder, EfficientNetEncoder)
    model.segmentor_encoder.trunk.load_state_dict(load_pretrained_trunk().state_dict())
    with torch.no_grad():
        model.language.model.get_input_embeddings().weight.copy_(token_embeddings(tokenizer, WIDTH))
        # The language states of every condition pass here: it must not start near zero.
        torch.nn.init.normal_(model.background.weight, std=0.5)
    initialize_segmentor(model.segmentor)
    return model


def parts(data: Path, commercial_only: bool) -> list[Part]:
    """What tiny is trained on: photos, more photos (sparsely labelled), drawn scenes."""
    photos = CocoFolder(data / "photos").records("train", commercial_only)
    kept = [record for i, record in enumerate(photos) if i % TUNING_EVERY]
    more = CocoFolder(data / "photos_more").records("train", commercial_only)
    crowded = [record for record in more if record.path.name.startswith("mushroom")]
    usual = [record for record in more if not record.path.name.startswith("mushroom")]
    names = sorted({name for record in photos for name in record.complete_for})
    more_names = sorted({name for record in more for name in record.names})
    scene_names = [*THING_NAMES, *STUFF_NAMES]
    return [
        Part(Photos(kept, names), 0.18, PHOTO_QUESTIONS),
        Part(Photos(usual, more_names), 0.12, SPARSE_QUESTIONS),
        Part(Photos(crowded, more_names), 0.02, SPARSE_QUESTIONS),
        Part(Scenes(scene_names, SIDE), 0.68, SCENE_QUESTIONS),
    ]


def looking_words(tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Names and looks of scenes as token ids: what the new language layers' attention starts from."""
    return (
        [list(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in (*THING_NAMES, *STUFF_NAMES)],
        [
            list(tokenizer(word, add_special_tokens=False)["input_ids"])
            for word in (*COLOURS, *PATTERN_WORDS, *PLACE_WORDS)
        ],
    )


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Checkpoints and log; resumed if there.")
@click.option("--start-from", type=click.Path(exists=True, path_type=Path), help="Model folder to go on from.")
@click.option("--new-language", is_flag=True, help="Begin the language layers anew, looking at what is alike.")
@click.option("--export", type=click.Path(path_type=Path), help="Write config and averaged weights here at the end.")
@click.option("--steps", default=6000, show_default=True)
@click.option("--decay-steps", default=1500, show_default=True)
@click.option("--word-steps", default=0, show_default=True, help="First steps: tokens that tell words.")
@click.option("--alignment-steps", default=0, show_default=True, help="Next steps: words and places, no masks.")
@click.option("--pictures", default=4, show_default=True)
@click.option("--learning-rate", default=3e-4, show_default=True)
@click.option("--trunk-learning-rate", default=0.0, show_default=True)
@click.option("--workers", default=0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--bf16", is_flag=True)
@click.option("--commercial-only", is_flag=True, help="Leave out photos whose licence allows no commercial use.")
def main(
    data: Path,
    run: Path,
    start_from: Path | None,
    new_language: bool,
    export: Path | None,
    steps: int,
    decay_steps: int,
    word_steps: int,
    alignment_steps: int,
    pictures: int,
    learning_rate: float,
    trunk_learning_rate: float,
    workers: int,
    seed: int,
    bf16: bool,
    commercial_only: bool,
) -> None:
    """See the module's words."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if dist.is_torchelastic_launched():
        dist.init_process_group("gloo")
    tokenizer = load_tokenizer(SHIPPED / "tiny")
    model = start(tokenizer, seed) if start_from is None else load_model(start_from)
    settings = LoopSettings(
        steps=steps,
        pictures=pictures,
        learning_rate=learning_rate,
        trunk_learning_rate=trunk_learning_rate,
        decay_steps=decay_steps,
        word_steps=word_steps,
        alignment_steps=alignment_steps,
        workers=workers,
        bf16=bf16,
    )
    stream = QuestionSet(
        parts(data, commercial_only), model.config, tokenizer, seed, length=steps * pictures, least_px=100
    )
    if new_language:
        torch.manual_seed(seed)  # the layers must start the same in every process
        begin_looking(model, *looking_words(tokenizer), [stream[index] for index in range(LOOKED_AT)])
    model = train(model, stream, settings, run)
    if export is not None and (not dist.is_initialized() or dist.get_rank() == 0):
        save_model(model, export)
        for name in TOKENIZER_FILES:
            shutil.copy(SHIPPED / "tiny" / name, export / name)


if __name__ == "__main__":
    main()
