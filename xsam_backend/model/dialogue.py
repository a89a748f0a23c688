"""The model together with its words: pictures are encoded, turns are asked about them. Knows no task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from xsam_backend.errors import PromptError
from xsam_backend.model.chat_templates import CHAT_TEMPLATES
from xsam_backend.model.closer_looks import CloserLooks
from xsam_backend.model.conversation import NO_ID, TokenizedConversation, tokenize
from xsam_backend.model.encoded import Encoded
from xsam_backend.model.image_processor import ImageProcessorConfig, process_image, scaled_size
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.kept_cells import KeptCells
from xsam_backend.model.language import Prefix, pad_rows
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.regions import region_points
from xsam_backend.model.small_passes import together
from xsam_backend.model.tiles import Window
from xsam_backend.model.turns import Turn, conversation_turn, generic_turn
from xsam_backend.model.vision import EncoderOutputs
from xsam_backend.model.xsam import ImageFeatures, XSam, pool_by_id
from xsam_backend.prompts import Category

Logits = tuple[Tensor, Tensor]
"""Of one picture: class logits (Q, C + 1) and mask logits (Q, h, w)."""

TURNS_TOGETHER = 8
"""More at once take no less time, but memory: at full size a turn's mask logits are 50 MB."""


class Dialogue:
    """Encodes pictures and asks turns. Keeps nothing of either."""

    def __init__(self, model: XSam, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.template = CHAT_TEMPLATES[model.config.chat_template]
        self.processor = ImageProcessorConfig.of_model(model.config)

    def look_at(self, image: NDArray[np.uint8], *, keeps_looks: bool = False) -> ImageState:
        """See ``Predictor.encode``."""
        state = self.state(image, self.look([image]), keeps_looks=keeps_looks)
        return state.with_prefix(self.prefix(state.encoded.features))

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> tuple[Encoded, tuple[PictureFrame, ...]]:
        """Several pictures at once, each uint8 (H, W, 3), and where each lies in the padded frame."""
        features = self.model.features(self.look(images))
        return Encoded(features, self.prefix(features)), tuple(map(self.frame, images))

    def close_up(self, state: ImageState, window: Window) -> ImageState:
        """A window of a picture, as a picture of its own."""
        close = state.looks.close_up(window)
        looks = CloserLooks(close.pixels, self.encode, keeps_all=False)
        return ImageState(close.batch.encoded, close.batch.frames[0], close.pixels, close.cells, looks)

    def look(self, images: Sequence[NDArray[np.uint8]]) -> EncoderOutputs:
        """What the encoders make of pictures, each uint8 (H, W, 3); on the model's device.

        Raises:
            ImageError: not such a picture.
        """
        processed = [process_image(image, self.processor) for image in images]
        vision, segmentor = (
            torch.stack(pixels).to(self.model.device, self.model.dtype)
            for pixels in ([one.vision_pixels for one in processed], [one.seg_pixels for one in processed])
        )
        return self.model.look(vision, segmentor)

    def state(self, image: NDArray[np.uint8], outputs: EncoderOutputs, *, keeps_looks: bool = False) -> ImageState:
        """A picture's state without its prefix, from what ``look`` gave for it, on whatever device."""
        pixels = image.copy()
        pixels.setflags(write=False)
        features = self.model.features(outputs.on(self.model.device))
        frame = self.frame(image)
        cells = KeptCells(features.pixels.mask_features[0], pixels, frame)
        looks = CloserLooks(pixels, self.encode, keeps_all=keeps_looks)
        return ImageState(Encoded(features, None), frame, pixels, cells, looks)

    def prefix(self, features: ImageFeatures) -> Prefix:
        """What the language model keeps of the words before each picture and the picture itself."""
        opening = self.tokenize(conversation_turn("?"), with_answer=False).through_image()
        return self.model.image_prefix([self.model.merge_tokens(opening, tokens) for tokens in features.tokens])

    def frame(self, image: NDArray[np.uint8]) -> PictureFrame:
        """Where a picture, uint8 (H, W, 3), lies in the padded frame."""
        side, size_hw = self.processor.seg_size, (image.shape[0], image.shape[1])
        return PictureFrame((side, side), scaled_size(size_hw, side), size_hw)

    def ask(self, encoded: Encoded, turn: Turn, regions: Tensor | None = None) -> list[Logits]:
        """One pass over question and fixed answer, about each of the pictures.

        Args:
            regions: (R, W), as ``embedded`` gives them, for the turn's region placeholders.
        """
        return [of_turn for (of_turn,) in self._asked(encoded, [(turn, regions)])]

    def ask_together(self, encoded: Encoded, asked: Sequence[tuple[Turn, Tensor | None]]) -> list[Logits]:
        """Several turns about one picture, each with its regions as in ``ask``, a few at a time: half the time of one
        after the other where they are short, and nothing gained where they are long lists."""
        found: list[Logits] = []
        most = together(TURNS_TOGETHER)
        for first in range(0, len(asked), most):
            (of_picture,) = self._asked(encoded, asked[first : first + most])
            found += of_picture
        return found

    def _asked(self, encoded: Encoded, asked: Sequence[tuple[Turn, Tensor | None]]) -> list[list[Logits]]:
        """Of each picture, and of each turn about it."""
        tokens = [self.tokenize(turn, with_answer=True).after_image() for turn, _ in asked]
        merged = [
            self.model.merge_tokens(words, regions=regions) for words, (_, regions) in zip(tokens, asked, strict=True)
        ]
        rows = torch.arange(len(encoded), device=self.model.device).repeat_interleave(len(asked))
        projected = self.model.project(self.model.text_states(merged * len(encoded), encoded.whole_prefix, rows))
        ids = (pad_rows([getattr(one, name) for one in merged], NO_ID) for name in ("cond_ids", "seg_ids"))
        found = self.segment(encoded, projected, *ids)
        return [found[first : first + len(asked)] for first in range(0, len(found), len(asked))]

    def embedded(self, encoded: Encoded, framed: Tensor, row: int = 0) -> Tensor:
        """(R, W): what the language model gets for each region, bool (R, P, P) in that picture's padded frame."""
        points = region_points(framed, self.model.config.region_points).to(self.model.device)
        maps = encoded.features.token_map[row].expand(len(points), -1, -1, -1)
        return self.model.region_embeddings(maps, points)

    def segment(self, encoded: Encoded, projected: Tensor, cond_ids: Tensor, seg_ids: Tensor) -> list[Logits]:
        """What the decoder says to T turns about each of B pictures, picture by picture.

        Args:
            projected: (B * T, L, W), states of the tokens that the ids, int64 (T, L) in main memory, belong to: the
                same turns about each picture.
        """
        count = len(encoded)
        pictures = torch.arange(count).repeat_interleave(len(cond_ids))
        (conditions, valid), (seg, _) = (pool_by_id(projected, ids.repeat(count, 1)) for ids in (cond_ids, seg_ids))
        laid_out = self.model.with_background(conditions, valid)
        predictions = self.model.segmentor(
            encoded.features.pixels, pictures, seg[:, 0], laid_out.embeddings, laid_out.valid
        )
        # Turns with fewer conditions than others have columns that mean nothing, before the background's.
        own = (int(ids.max()) + 1 for ids in cond_ids.repeat(count, 1))
        class_logits = (
            torch.cat([logits[:, :conditions], logits[:, -1:]], 1)
            for logits, conditions in zip(predictions.class_logits[-1], own, strict=True)
        )
        return list(zip(class_logits, predictions.mask_logits(), strict=True))

    def groups(self, categories: Sequence[Category]) -> list[list[Category]]:
        """Categories in lists that the model can read.

        Raises:
            PromptError: one category alone is too long.
        """
        room = self.model.config.max_text_tokens
        groups: list[list[Category]] = [[]]
        for category in categories:
            trial = [*groups[-1], category]
            length = len(self.tokenize(generic_turn([c.phrase for c in trial]), with_answer=True, bounded=False))
            if length > room and groups[-1]:
                groups.append([category])
            elif length > room:
                raise PromptError(f"category {category.phrase[:80]!r} is longer than the model reads: shorten it")
            else:
                groups[-1] = trial
        return groups

    def tokenize(self, turn: Turn, *, with_answer: bool, bounded: bool = True) -> TokenizedConversation:
        """One turn in the model's tokens.

        Raises:
            PromptError: more than it reads, if bounded.
        """
        return tokenize(
            [turn],
            self.tokenizer,
            self.template,
            with_answer=with_answer,
            bos=self.model.config.use_bos,
            max_length=self.model.config.max_text_tokens if bounded else None,
            overlong="refuse",
        )
