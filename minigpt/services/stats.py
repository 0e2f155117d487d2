"""`minigpt stats`: what a data file looks like to the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from minigpt.corpus.plot import draw_histogram
from minigpt.corpus.qa import QAPair
from minigpt.corpus.scan import first_pairs
from minigpt.corpus.stats import TokenStats, token_stats
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import load_vocab
from minigpt.errors import DataError
from minigpt.events import Report, ignore
from minigpt.files import Status, check_distinct, check_input, is_there, write_file
from minigpt.services.read import data_file
from minigpt.settings import DataSettings, Settings

Part = Literal["question", "answer", "separator"]


@dataclass(frozen=True, slots=True)
class ShownToken:
    """One position as the model is fed it: the token it sees and the one it shall predict.

    Attributes:
        position: From 0.
        part: What the seen token belongs to.
        text: The character in the data, of which `<unk>` says nothing; empty for a separator.
        token: The seen token.
        id: Its id.
        target: The token to predict, the next one.
        target_id: Its id.
        counts_on_all: Whether the loss counts the target when `[train] loss_on` is "all".
        counts_on_answer: Whether it does when `loss_on` is "answer".
    """

    position: int
    part: Part
    text: str
    token: str
    id: int
    target: str
    target_id: int
    counts_on_all: bool
    counts_on_answer: bool


@dataclass(frozen=True, slots=True)
class ShownPair:
    """A pair and its positions: each of its tokens but the last, with the one that follows.

    Attributes:
        question: As in the data.
        answer: As in the data.
        over_max_length: Whether training leaves the pair out: it is longer than `[train]
            max_length`, and nothing of it counts.
        tokens: The positions.
    """

    question: str
    answer: str
    over_max_length: bool
    tokens: tuple[ShownToken, ...]


@dataclass(frozen=True, slots=True)
class StatsResult:
    """What `show_stats` found.

    Attributes:
        path: The data file.
        vocab: The vocabulary file.
        vocab_size: Number of tokens in it.
        skipped: Number of bad lines left out.
        stats: The figures.
        plot: The picture of the histogram; None without one.
        plot_status: Whether it was written, or was already there; None without one.
        shown: The first pairs, token by token, as many as `[stats] show` says.
    """

    path: Path
    vocab: Path
    vocab_size: int
    skipped: int
    stats: TokenStats
    plot: Path | None
    plot_status: Status | None
    shown: tuple[ShownPair, ...]


def show_stats(
    settings: Settings,
    *,
    file: Path | None = None,
    force: bool = False,
    report: Report = ignore,
) -> StatsResult:
    """Measure `file`, or else `[data] train`, with the vocabulary `[data] vocab`.

    Raises:
        DataError: The file cannot be read or has no valid pair.
        VocabError: The vocabulary is missing or damaged.
        SettingsError: A picture cannot be drawn, or would replace what it is made from.
        OutputError: The picture cannot be written, or is another one and `force` is not given.

    Example:
        >>> from minigpt import load_settings, show_stats
        >>> result = show_stats(load_settings({"stats": {"show": 1}}))
        >>> result.stats.pairs, result.stats.pair.max, result.shown[0].tokens[0].target
        (9, 13, '子')
    """
    data, stats = settings.data, settings.stats
    path = _default_file(data) if file is None else file
    plot = Path(stats.plot) if stats.plot else None
    if plot:
        inputs = [path, data.vocab, *settings.files]
        check_distinct(plot, inputs, what="the picture", option="--plot")
    vocab = load_vocab(data.vocab)
    file_data = data_file(path, data)
    figures, scan = token_stats(
        file_data, vocab, interval=stats.interval, max_length=stats.max_length, report=report
    )
    return StatsResult(
        path=path,
        vocab=data.vocab,
        vocab_size=vocab.size,
        skipped=scan.skipped,
        stats=figures,
        plot=plot,
        plot_status=_write_plot(plot, figures, force=force) if plot else None,
        shown=_show(
            first_pairs(file_data, stats.show),
            Tokenizer(vocab),
            max_length=settings.train.max_length,
        ),
    )


def _default_file(data: DataSettings) -> Path:
    if not is_there(data.train):
        hint = "build it: minigpt split" if is_there(data.source) else "minigpt stats FILE"
        check_input(data.train, error=DataError, what="the training data", hint=hint)
    return data.train


def _write_plot(path: Path, stats: TokenStats, *, force: bool) -> Status:
    picture = draw_histogram(stats, file_format=path.suffix.lower().removeprefix("."))
    return write_file(path, picture, force=force)


def _show(
    pairs: Sequence[QAPair], tokenizer: Tokenizer, *, max_length: int
) -> tuple[ShownPair, ...]:
    return tuple(_shown_pair(pair, tokenizer, max_length=max_length) for pair in pairs)


def _shown_pair(pair: QAPair, tokenizer: Tokenizer, *, max_length: int) -> ShownPair:
    ids = tokenizer.encode_pair(pair.question, pair.answer)
    texts = [*pair.question, "", *pair.answer, ""]
    tokens = tokenizer.vocab.tokens
    boundary = len(pair.question)
    fits = len(ids) <= max_length
    positions = tuple(
        ShownToken(
            position=position,
            part=_part(position, boundary),
            text=texts[position],
            token=tokens[seen],
            id=seen,
            target=tokens[target],
            target_id=target,
            counts_on_all=fits,
            counts_on_answer=fits and position >= boundary,  # from the first <sep> on
        )
        for position, (seen, target) in enumerate(pairwise(ids))
    )
    return ShownPair(pair.question, pair.answer, not fits, positions)


def _part(position: int, boundary: int) -> Part:
    if position == boundary:
        return "separator"
    return "question" if position < boundary else "answer"
