"""What a training's config file may say: where to start, which pictures and questions, and the stages in order.

``docs/training.md`` lists the keys, made from the descriptions here; ``config_file`` reads them from TOML.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from xsam_backend.prompts import Task

Count = Annotated[int, Field(strict=True, ge=0)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=10**9)]
Number = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(pattern=r"^[\w-]+$")]

PartName = Literal[
    "vision_encoder",
    "segmentor_encoder",
    "visual_projector",
    "seg_projector",
    "language",
    "llm_projector",
    "connector",
    "segmentor",
]
Kind = Literal["words", "segmentor", "alignment", "mixed"]

TRAINED_BY: Mapping[Kind, tuple[PartName, ...]] = {
    "words": ("segmentor_encoder", "seg_projector"),
    "segmentor": ("segmentor_encoder", "connector", "segmentor"),
    "alignment": ("visual_projector", "seg_projector"),
    "mixed": ("visual_projector", "seg_projector", "language", "llm_projector", "connector", "segmentor"),
}
"""What a stage of each kind trains unless it says otherwise."""

_ALL: tuple[PartName, ...] = get_args(PartName)
REACHED_BY: Mapping[Kind, tuple[PartName, ...]] = {
    "words": ("segmentor_encoder", "seg_projector", "language"),  # of the latter, its embeddings
    "segmentor": ("segmentor_encoder", "connector", "segmentor"),
    "alignment": tuple(part for part in _ALL if part not in ("connector", "segmentor")),
    "mixed": _ALL,
}
"""What a stage of each kind may train: the parts that its losses depend on."""


class Table(BaseModel):
    """A table of the file: keys that aren't in it are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Questions(Table):
    """How many questions of each task are asked about a picture, on average; fractions by chance.

    Photos hold interactive, generic, referring and vgd; drawn scenes hold everything."""

    interactive: Number = Field(0, description="A click, box, scribble or rough mask: that object.")
    generic: Number = Field(0, description="Several names at once, some of them of nothing that is there.")
    referring: Number = Field(0, description="A phrase, or a name where the picture has no phrases.")
    reasoning: Number = Field(0, description="A riddle about something in the picture.")
    gcg: Number = Field(0, description="A caption whose phrases have masks.")
    vgd: Number = Field(0, description="Exemplars: everything that is like them.")
    conversation: Number = Field(0, description="A question with an answer in words, no mask.")

    @property
    def by_task(self) -> dict[Task, float]:
        """Those that are asked at all."""
        return {Task[name.upper()]: count for name, count in self if count > 0}

    @model_validator(mode="after")
    def _something(self) -> Questions:
        if not self.by_task:
            raise ValueError("expected a number above 0 for one task at least")
        return self


class _Pictures(Table):
    name: Name = Field(description="What stages call it.")
    share: Positive | None = Field(
        None, description="Its weight among the pictures; or see oversample. Weights need not add up to 1."
    )
    views: Count = Field(
        0,
        description="So many pictures of it are drawn once, each in one view (cut-out, mirrored, light), and come "
        "again and again, asked anew; 0: each time another one.",
    )
    pointed_at: Literal["large objects", "all objects"] = Field(
        "large objects",
        description="What clicks and boxes are simulated for: large objects more often, by the square root of their "
        "area; or each as often as another, as annotators point at all of them.",
    )
    questions: Questions = Field(description="What is asked about a picture of it, [data.questions].")


class PhotoData(_Pictures):
    """A folder of labelled photos: COCO's `instances.json` and the pictures."""

    kind: Literal["photos"]
    folder: Path = Field(description="Where they lie; below data_folder unless absolute.")
    split: str = Field("train", description="Only pictures of this split.")
    files: str = Field("*", description="Only files whose names fit this pattern.")
    except_files: str = Field("", description="None whose names fit this one.")
    leave_out_every: Count = Field(
        0, description="Every so-manieth picture of the split, from the first on, is set aside for tuning; 0: none."
    )
    commercial_only: Flag = Field(False, description="No pictures whose licence allows no commercial use.")
    paste: Number = Field(
        0,
        description="So many segments of other photos are pasted into each on average, each name as often.",
    )
    paste_from: tuple[Name, ...] = Field(
        (), description="Names of the photo parts that those segments are cut from; empty: this one."
    )


class DatasetData(_Pictures):
    """Pictures in a benchmark's format, as `evaluate` reads them; prompts are simulated, also where it has some."""

    kind: Literal["dataset"]
    path: Path = Field(description="A file or folder; below data_folder unless absolute.")
    format: Name | None = Field(None, description="coco, panoptic, refcoco, gcg, ...; without it, recognised.")
    split: str | None = Field(None, description="Only pictures of this split.")
    images: Path | None = Field(None, description="Folder of the pictures, where it isn't one of the usual ones.")
    only: str | None = Field(None, description="A part of it, in words that the format understands.")


class SceneData(_Pictures):
    """Drawn scenes, endless, none of the held-out ones."""

    kind: Literal["scenes"]
    pictures: Count = Field(0, description="As how many pictures they count where shares come from oversample.")


Data = Annotated[PhotoData | DatasetData | SceneData, Field(discriminator="kind")]


class LoraConfig(Table):
    """Low-rank pairs instead of whole matrices, for a model that is to be changed a little."""

    parts: tuple[PartName, ...] = Field(
        ("language", "segmentor"),
        description="Parts of which only the pairs (and learned queries) are trained; the others in trains in full.",
    )
    rank: Annotated[Count, Field(ge=1)] = Field(16, description="Rank of a pair's product.")
    alpha: Annotated[Count, Field(ge=1)] = Field(32, description="The product counts alpha / rank times.")
    dropout: Share = Field(0.0, description="Share of a pair's inputs that are dropped in training.")


class StageConfig(Table):
    """One stage: an optimizer and a schedule of its own. It starts from the averaged weights of the one before."""

    name: Name = Field(description="For logs, and to find the place again on resuming.")
    kind: Kind = Field(
        description="What is learned. words: the picture's tokens tell names, looks and places of segments. "
        "segmentor: masks and class scores, no gradient through the language model. alignment: what to say and, with "
        "grounding, where phrases and regions lie. mixed: all of it."
    )
    trains: tuple[PartName, ...] = Field(
        (), description="Which parts of the model, of those that the kind teaches; empty: the usual ones."
    )
    grounding: Flag = Field(
        False,
        description="Also ask heads that aren't shipped where targets lie and what segments are called: teaches a "
        "small model early. Kind words is nothing else. Needs memory for all attention weights.",
    )
    new_language: Flag = Field(
        False, description="First begin the language layers anew, looking at what is alike. Phi-3's layers only."
    )
    data: tuple[Name, ...] = Field((), description="Names of the data parts; empty: all.")
    questions: Questions | None = Field(None, description="Asked instead of what the parts say, [stages.questions].")
    batches: Literal["mixed", "one task"] = Field(
        "mixed",
        description="mixed: each picture of a step from any part, with all of its questions. one task: a step has "
        "one part's pictures and one task's questions, as the paper trains.",
    )
    steps: Count = Field(description="Optimizer steps.")
    pictures: Annotated[Count, Field(ge=1)] = Field(4, description="Pictures per step, of all processes together.")
    accumulate: Annotated[Count, Field(ge=1)] = Field(
        1,
        description="Passes per step, each with its part of the pictures: less memory. The step is the mean of its "
        "passes, each the mean over what it asks; so it is with several processes.",
    )
    learning_rate: Positive = Field(description="Of everything but pretrained image encoders.")
    trunk_learning_rate: Number | None = Field(
        None,
        description="Of the pretrained image encoders among what is trained (SigLIP, SAM; tiny's EfficientNet); "
        "without it a tenth of learning_rate, 0 keeps them as they are.",
    )
    warmup_steps: Count = Field(200, description="The rate rises in a straight line over so many first steps.")
    decay_steps: Count = Field(1000, description="It falls over so many last steps.")
    decay: Literal["linear", "cosine"] = Field("linear", description="linear: to a fiftieth. cosine: to 0.")
    weight_decay: Number = Field(0.02, description="Of matrices; norms, biases and embeddings have none.")
    betas: tuple[Share, Share] = Field((0.9, 0.98), description="AdamW's.")
    clip_norm: Positive = Field(1.0, description="Gradients are scaled down to this norm.")
    ema: Share = Field(
        0.998, description="Share of the old in the averaged weights, the stage's result; 0: the last ones."
    )
    precision: Literal["float32", "bf16", "fp16"] = Field(
        "float32", description="Number format of the passes; weights stay float32. fp16 on CUDA only, loss scaled."
    )
    patience: Count = Field(
        0,
        description="End the stage early when its loss, smoothed over some 50 steps, hasn't fallen by a hundredth "
        "for so many steps; 0: never.",
    )
    seed: Seed | None = Field(None, description="Without it, the run's seed plus the number of stages before.")

    @property
    def trained_parts(self) -> tuple[PartName, ...]:
        """The parts that are trained."""
        return self.trains or TRAINED_BY[self.kind]

    @property
    def trunk_rate(self) -> float:
        """Full learning rate of the pretrained image encoders."""
        return self.learning_rate / 10 if self.trunk_learning_rate is None else self.trunk_learning_rate

    @property
    def trains_encoders(self) -> bool:
        """Whether what the encoders make of a picture changes."""
        return not {"vision_encoder", "segmentor_encoder"}.isdisjoint(self.trained_parts)

    @model_validator(mode="after")
    def _fits(self) -> StageConfig:
        apart = [part for part in self.trained_parts if part not in REACHED_BY[self.kind]]
        if apart:
            raise ValueError(
                f"trains: kind '{self.kind}' teaches {', '.join(REACHED_BY[self.kind])}; got {', '.join(apart)}"
            )
        if self.kind == "words" and not self.grounding:
            raise ValueError("kind 'words' learns from grounding alone: set grounding = true")
        if self.kind == "alignment" and not self.grounding and "llm_projector" in self.trained_parts:
            raise ValueError(
                "trains: kind 'alignment' reaches llm_projector by grounding alone: set grounding = true, or take "
                "llm_projector away"
            )
        if self.new_language and "language" not in self.trained_parts:
            raise ValueError("new_language begins layers that this stage doesn't train: add 'language' to trains")
        if self.pictures % self.accumulate:
            raise ValueError(f"{self.pictures} pictures can't be shared evenly among {self.accumulate} passes")
        return self


def _refuse_unfit_donors(part: PhotoData, photos: Mapping[str, PhotoData]) -> None:
    if part.paste_from and not part.paste:
        raise ValueError(f"data '{part.name}': paste_from says where from, paste how many: got none")
    if not set(part.paste_from) <= set(photos):
        raise ValueError(
            f"data '{part.name}': paste_from: expected names of photo parts ({', '.join(photos)}), "
            f"got {', '.join(part.paste_from)}"
        )
    if part.commercial_only and not all(photos[name].commercial_only for name in part.paste_from):
        raise ValueError(f"data '{part.name}': commercial_only: those that segments are pasted from must be it, too")


class TrainConfig(Table):
    """A whole training."""

    run: Path = Field(description="Folder of the run: state, log, TensorBoard. If it has a state, the run goes on.")
    start: str = Field(
        "nothing",
        description="nothing: the recipe of tiny, random but for image trunk and word embeddings. Otherwise a model "
        "as for --model: tiny (the shipped weights), the name of a pulled one, or a folder.",
    )
    export: Path | None = Field(None, description="Write the model here at the end: config, weights, tokenizer.")
    data_folder: Path = Field(Path("."), description="Where folders of data begin; from where the command runs.")
    seed: Seed = Field(0, description="The same seed gives the same pictures, questions and starting weights.")
    lora: LoraConfig | None = Field(None, description="Train pairs of some parts, [lora]; without it, all in full.")
    workers: Count = Field(0, description="Processes that prepare pictures, for each training process.")
    least_px: Count = Field(100, description="Instances with fewer pixels aren't asked for one by one.")
    oversample: Positive | None = Field(
        None,
        description="t of the paper's resampling: a part with the share f of all pictures is drawn max(1, sqrt(t/f)) "
        "times as often. Instead of the parts' share.",
    )
    save_every: Annotated[Count, Field(ge=1)] = Field(100, description="Steps between states; also after each stage.")
    log_every: Annotated[Count, Field(ge=1)] = Field(25, description="Steps of which the log has the means.")
    features_mb: Count = Field(
        0,
        description="What frozen encoders make of such views is kept in the run's folder, so many megabytes at most "
        "for each process; 0: computed each time.",
    )
    tensorboard: Flag = Field(False, description="Also log for TensorBoard.")
    data: tuple[Data, ...] = Field(description="Where pictures come from, [[data]].")
    stages: tuple[StageConfig, ...] = Field(description="What is learned, in order, [[stages]].")

    def seed_of(self, number: int) -> int:
        """The seed of a stage, counted from 0."""
        own = self.stages[number].seed
        return self.seed + number if own is None else own

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        for kind, names in (("data", [d.name for d in self.data]), ("stages", [s.name for s in self.stages])):
            if not names:
                raise ValueError(f"{kind}: expected one at least, got none")
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{kind}: expected a name of its own for each, got {', '.join(sorted(twice))} twice")
        if self.lora is not None and self.start == "nothing":
            raise ValueError("lora changes a trained model a little: name one to start from, or take lora away")
        if self.lora is not None and any(stage.new_language for stage in self.stages):
            raise ValueError("new_language begins layers anew, which pairs can't learn: take one of the two away")
        if self.features_mb and not any(part.views for part in self.data):
            raise ValueError("features_mb keeps what encoders make of views that come again: give data some views")
        known = [part.name for part in self.data]
        for stage in self.stages:
            if not set(stage.data) <= set(known):
                raise ValueError(
                    f"stage '{stage.name}': data: expected names of [[data]] ({', '.join(known)}), "
                    f"got {', '.join(stage.data)}"
                )
        photos = {part.name: part for part in self.data if isinstance(part, PhotoData)}
        for part in self.data:
            if isinstance(part, PhotoData):
                _refuse_unfit_donors(part, photos)
            counts = not isinstance(part, SceneData) or part.pictures > 0
            if self.oversample is None and part.share is None:
                raise ValueError(f"data '{part.name}': expected a share, or oversample for all parts; got neither")
            if self.oversample is not None and (part.share is not None or not counts):
                raise ValueError(
                    f"data '{part.name}': with oversample, shares come from the numbers of pictures: take its share "
                    "away and give scenes a number (pictures)"
                )
        return self
