"""Every setting, once: its name, default, bounds and meaning.

One pydantic model per table of `minigpt.toml`. The command line's options, the environment
variables `MINIGPT_<TABLE>__<KEY>`, the keys of the file and the help texts all come from here.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
TopP = Annotated[float, Field(gt=0, le=1)]
Penalty = Annotated[float, Field(ge=1, le=10)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
FractionOrSuited = Annotated[float, Field(ge=-1, lt=1)]
DecayOrSuited = Annotated[float, Field(ge=-1)]
SeedOrFresh = Annotated[int, Field(ge=-1, lt=2**63)]
Layers = Annotated[int, Field(ge=0, le=1_000)]
Width = Annotated[int, Field(ge=0, le=65_536)]
Length = Annotated[int, Field(ge=4, le=65_536)]


class Section(BaseModel):
    """A table of settings: closed, frozen, documented by the string under each field."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    @field_validator("*")
    @classmethod
    def _no_nul(cls, value: object) -> object:
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError("no name or text may hold a NUL character")
        return value


def _picture(name: str) -> str:
    if name and Path(name).suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise ValueError("the file name must end in .png, .svg or .pdf")
    return name


class DataSettings(Section):
    """The files that the commands share, and how a line is read."""

    source: Path = Path("data/data.jsonl")
    """JSONL file of questions and answers, one object a line."""
    vocab: Path = Path("data/vocab.json")
    """Vocabulary file."""
    train: Path = Path("data/train.jsonl")
    """Pairs to train on."""
    val: Path = Path("data/val.jsonl")
    """Pairs to validate on."""
    question_key: str = Field("question", min_length=1)
    """Field of a line that holds the question."""
    answer_key: str = Field("answer", min_length=1)
    """Field of a line that holds the answer."""
    strict: bool = False
    """Refuse a data file that has any bad line, before anything is written."""


class VocabSettings(Section):
    """Which characters become tokens."""

    min_count: PositiveInt = 1
    """Leave out characters that occur less often than this."""
    max_size: NonNegativeInt = 0
    """Most tokens to keep, the three special ones included, frequent ones first; 0 keeps all."""

    @field_validator("max_size")
    @classmethod
    def _has_room(cls, value: int) -> int:
        if 0 < value < 4:
            raise ValueError("the three special tokens and one character need at least 4")
        return value


class SplitSettings(Section):
    """How the data is cut into a training and a validation part."""

    train_ratio: Share = 0.9
    """Share of the pairs that goes to the training part."""
    seed: Seed = 42
    """Seed of the shuffle; the same seed gives the same split."""
    leak_free: bool = True
    """Move a validation pair to train when its question also stands there."""


class StatsSettings(Section):
    """What the token statistics show."""

    interval: PositiveInt = 20
    """Width of one bar of the histogram, in tokens."""
    max_length: PositiveInt = 512
    """Pairs longer than this many tokens are gathered in one last bar."""
    plot: str = ""
    """Draw the histogram to this file (.png, .svg or .pdf); empty draws none."""
    show: NonNegativeInt = 0
    """Print this many pairs as the model is fed them, token by token; 0 prints none."""

    @field_validator("plot")
    @classmethod
    def _has_known_suffix(cls, value: str) -> str:
        return _picture(value)


SIZES = {"base": (6, 8, 768), "small": (6, 6, 384), "tiny": (4, 4, 256)}
"""Layers, heads and width of each `[model] size`."""


class ModelSettings(Section):
    """The shape of the model."""

    size: Literal["base", "small", "tiny"] = "base"
    """Layers, heads and width together: base 6, 8, 768; small 6, 6, 384; tiny 4, 4, 256."""
    n_layer: Layers = 0
    """Number of blocks; 0 takes that of the size."""
    n_head: NonNegativeInt = 0
    """Number of attention heads in a block; 0 takes that of the size."""
    n_embd: Width = 0
    """Width of the embeddings; 0 takes that of the size."""
    block_size: Length = 256
    """Number of positions the model has: the longest sequence it could ever see, in tokens."""
    dropout: FractionOrSuited = -1
    """Share of activations set to zero while training, against over-fitting; -1 takes the more, the
    larger the model and the more epochs for its data."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, heads and width: those of the size; a key given beside it wins."""
        given = (self.n_layer, self.n_head, self.n_embd)
        n_layer, n_head, n_embd = (
            key or default for key, default in zip(given, SIZES[self.size], strict=True)
        )
        return n_layer, n_head, n_embd

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        _, n_head, n_embd = self.shape
        if n_embd % n_head:
            raise ValueError(f"n_embd {n_embd} is not a multiple of n_head {n_head}")
        return self


class TrainSettings(Section):
    """How the model is trained."""

    run_dir: Path = Path("output")
    """Run directory: settings, metrics and checkpoints are written there."""
    init_from: str = ""
    """Checkpoint or run directory to start from, its characters found again in the vocabulary;
    empty starts from chance."""
    epochs: NonNegativeInt = 0
    """Passes over the training pairs; 0 takes 4, and up to 15 where the pairs are few."""
    batch_size: NonNegativeInt = 0
    """Pairs per optimizer step, over all devices; 0 takes 64 to 256, as suits model and data."""
    batching: Literal["auto", "packed", "bucketed"] = "auto"
    """Pairs end to end in rows of one length, or side by side with others of like length; auto
    packs on a CUDA GPU from Ampere on that has Triton and room for the corpus."""
    micro_batch_tokens: NonNegativeInt = 0
    """Tokens per forward pass, summed up to a batch; fewer need less memory. 0 suits the device."""
    max_length: Length = 140
    """Longest pair in tokens, with its two separators; longer pairs are counted and left out."""
    loss_on: Literal["all", "answer"] = "all"
    """Tokens that the model learns to predict: all, or only the answer and its stop."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon for the blocks' matrices and AdamW for the rest, or AdamW for all parameters."""
    learning_rate: PositiveFloat = 3e-3
    """Highest learning rate of AdamW; 1e-3 or less suits it where it has all parameters."""
    muon_learning_rate: NonNegativeFloat = 0
    """Highest learning rate of Muon; 0 takes 0.01 for 64 pairs a step, 0.02 for 256."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up, to zero over the planned steps."""
    warmup_steps: NonNegativeInt = 50
    """Optimizer steps over which the learning rate rises linearly from zero; 0 is off."""
    weight_decay: DecayOrSuited = -1
    """Decoupled weight decay of the matrices; biases and norms have none. -1 takes 0.2 where the
    model is large for its data, else 0.02."""
    grad_clip: NonNegativeFloat = 1.0
    """Largest norm of the whole gradient; 0 is off."""
    validate_every: NonNegativeInt = 0
    """Steps between validations; 0 validates after each epoch."""
    save_every_s: NonNegativeFloat = 300.0
    """Seconds between saves of last.safetensors besides those after a validation; 0 is off."""
    patience: NonNegativeInt = 0
    """Stop after this many validations without a better loss; 0 is off."""
    show_samples: NonNegativeInt = 3
    """Validation questions answered after each epoch, always the same; 0: none, no exact match."""
    tensorboard: Literal["auto", "on", "off"] = "auto"
    """Write TensorBoard events to RUN_DIR/tensorboard; auto does if the extra is installed."""
    seed: Seed = 42
    """Seed of the initial weights, the order of the pairs and dropout."""


class EvalSettings(Section):
    """What is measured."""

    checkpoint: Path = Path("output")
    """Checkpoint file, or a run directory (its best)."""
    limit: NonNegativeInt = 0
    """Measure a seeded sample of this many pairs; 0 measures all."""
    generate: bool = True
    """Also let the model answer every question, and score the answers."""
    batch_size: NonNegativeInt = 0
    """Pairs at once; the figures do not depend on it. 0 suits the device."""
    max_new_tokens: PositiveInt = 128
    """Longest generated answer, in tokens."""
    samples: NonNegativeInt = 3
    """Generated answers shown beside the expected ones; a report has as many of the worst."""
    report: str = ""
    """Write all figures and every answer to this file (.md or .json); empty writes none."""
    compare: str = ""
    """A second checkpoint (file or run directory) to compare on the same pairs; empty is off."""
    fail_under: tuple[str, ...] = ()
    """METRIC=X: exit with 8 if the metric is worse than X; repeatable."""
    seed: Seed = 42
    """Seed of all that is drawn: the sample of `limit`, the samples shown, the intervals."""

    @field_validator("report")
    @classmethod
    def _has_known_suffix(cls, value: str) -> str:
        if value and Path(value).suffix.lower() not in {".md", ".json"}:
            raise ValueError("the file name must end in .md or .json")
        return value


class ChatSettings(Section):
    """How answers are drawn."""

    checkpoint: Path = Path("output")
    """Checkpoint file, or a run directory (its best)."""
    temperature: NonNegativeFloat = 0.8
    """How freely characters are drawn: 0 always takes the likeliest, 1 follows the model."""
    top_k: NonNegativeInt = 20
    """Draw only among this many likeliest characters; 0 is off."""
    top_p: TopP = 1.0
    """Draw only among the likeliest characters that together have this probability; 1 is off."""
    repetition_penalty: Penalty = 1.0
    """Make characters that the answer already holds less likely; 1 is off."""
    max_new_tokens: PositiveInt = 128
    """Longest answer, in tokens."""
    seed: SeedOrFresh = -1
    """Seed that makes answers repeatable; -1 draws a fresh one."""
    loop_guard: bool = True
    """Stop an answer that repeats itself and would not end."""
    stats: bool = False
    """Say how many tokens an answer has, how fast they came and when the first one did."""
    history: bool = True
    """Keep what is typed at the prompt for the next time, where only you can read it."""
    attention: str = ""
    """Draw where the model looked for each character (.png, .svg or .pdf); empty draws none."""

    @field_validator("attention")
    @classmethod
    def _is_a_picture(cls, value: str) -> str:
        return _picture(value)


class RuntimeSettings(Section):
    """The machine: where and in which number format the model runs."""

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    """auto, cpu, cuda, cuda:N or mps; auto takes the fastest that is there."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the arithmetic; auto trains in bfloat16 where that is sound and fast."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the model's blocks before training; auto does on a GPU if the run is long enough."""
    quantize: Literal["none", "int8", "int4"] = "none"
    """Bits of a weight while answering: fewer are read faster on a CPU, and cost some quality."""


class Settings(Section):
    """All tables of settings, checked and frozen.

    Example:
        >>> from minigpt import Settings
        >>> settings = Settings(train={"epochs": 3})  # only these; `load_settings` reads all layers
        >>> settings.train.epochs, settings.train.max_length, settings.model.shape
        (3, 140, (6, 8, 768))
    """

    data: DataSettings = DataSettings()
    vocab: VocabSettings = VocabSettings()
    split: SplitSettings = SplitSettings()
    stats: StatsSettings = StatsSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    eval: EvalSettings = EvalSettings()
    chat: ChatSettings = ChatSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _pairs_fit_the_model(self) -> Self:
        if self.train.max_length > self.model.block_size:
            raise ValueError(
                f"train.max_length {self.train.max_length} is more than the "
                f"model.block_size {self.model.block_size}"
            )
        return self

    @property
    def files(self) -> list[Path]:
        """The settings file that was read, if there was one: no output may take its place."""
        return [self._file] if self._file else []

    def origin(self, table: str, key: str) -> str:
        """The layer that set `table.key`: option, environment, a TOML file's name, or default."""
        return self._origins.get(f"{table}.{key}", "default")
