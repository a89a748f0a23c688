"""A base model small enough to be served and trained in a test, as a folder on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from small_models import small_model

from xsam_backend.model.checkpoint import save_model
from xsam_backend.model.folders import SHIPPED


def save_small_base(folder: Path) -> Path:
    """Random weights and the shipped tokenizer; what ``serve --model`` takes."""
    save_model(small_model(), folder, torch.float32)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / "tiny" / name, folder / name)
    return folder
