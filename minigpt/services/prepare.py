"""Data and vocabulary for a training run: read, or built first where they are missing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.corpus.encoded import encode_file
from minigpt.corpus.vocab import Vocab, load_vocab
from minigpt.errors import DataError, VocabError
from minigpt.events import Note, Report, Warned, ignore
from minigpt.files import is_there
from minigpt.services.read import data_file
from minigpt.services.split import split_data
from minigpt.services.vocab import build_vocabulary
from minigpt.settings import Settings
from minigpt.training.recipe import suited


@dataclass(frozen=True)
class TrainingData:
    """Everything that a run learns from and is measured on."""

    vocab: Vocab
    train_set: TokenizedDataset
    val_set: TokenizedDataset


def build_missing(settings: Settings, report: Report) -> None:
    """Build the vocabulary and the split from `[data] source` where they are not there yet.

    Raises:
        DataError: Something is missing and there is no source to build it from.
    """
    data = settings.data
    parts = [path for path in (data.train, data.val) if not is_there(path)]
    if is_there(data.vocab) and not parts:
        return
    if len(parts) == 1:
        other = data.val if parts[0] == data.train else data.train
        raise DataError(
            f"{parts[0]}: missing, and {other} is there",
            hint="name it with --train-data or --val-data, or cut both with `minigpt split`",
        )
    if not is_there(data.source):
        missing = parts[0] if parts else data.vocab
        raise DataError(
            f"{missing}: missing, and so is {data.source} to build it from",
            hint="put your questions and answers there, or name them: minigpt vocab FILE, "
            "minigpt split FILE",
        )
    told = False
    if not is_there(data.vocab):
        built = build_vocabulary(settings, report=report)
        told = True  # the source's bad lines are not told twice
        report(Note(f"built {built.path}: {built.size:,} tokens, from {data.source}"))
    if parts:
        cut = split_data(settings, report=ignore if told else report)
        report(
            Note(
                f"split {data.source}: {cut.train_pairs:,} pairs in {cut.train}, "
                f"{cut.val_pairs:,} in {cut.val}"
            )
        )


def read_training_data(settings: Settings, report: Report) -> TrainingData:
    """Read and encode the training and validation pairs.

    Raises:
        DataError: A file cannot be read, or no pair of it fits `max_length`.
        VocabError: The vocabulary cannot be read, or is empty.
    """
    vocab = load_vocab(settings.data.vocab)
    if not vocab.characters:
        raise VocabError(
            f"{settings.data.vocab}: holds no character",
            hint="build it again: minigpt vocab --force",
        )
    train_set = _read(settings.data.train, settings, vocab, report)
    val_set = _read(settings.data.val, settings, vocab, report)
    return TrainingData(vocab, train_set, val_set)


def _read(path: Path, settings: Settings, vocab: Vocab, report: Report) -> TokenizedDataset:
    data, max_length = settings.data, settings.train.max_length
    dataset = encode_file(data_file(path, data), vocab, max_length=max_length, report=report)
    if not dataset.n_pairs:
        raise DataError(
            f"{path}: every pair is longer than {max_length} tokens",
            hint="raise --max-length (and --block-size); `minigpt stats` recommends one",
        )
    if dataset.too_long:
        report(
            Warned(
                f"{path}: {dataset.too_long:,} of {dataset.n_pairs + dataset.too_long:,} pairs "
                f"are longer than {max_length} tokens and are left out",
                hint="`minigpt stats` recommends a --max-length",
            )
        )
    if dataset.unknown_tokens:
        share = dataset.unknown_tokens / dataset.n_tokens
        report(
            Warned(
                f"{path}: {share:.2%} of the tokens are <unk>, characters that "
                f"{data.vocab} does not have",
                hint="build the vocabulary from all of your data: minigpt vocab FILE --force"
                if share > 0.01
                else "",
            )
        )
    return dataset


def suited_settings(settings: Settings, data: TrainingData, report: Report) -> Settings:
    """The settings with what they leave open chosen, and a note that says what that is."""
    train, model = suited(
        settings.train,
        settings.model,
        data.train_set,
        vocab_size=data.vocab.size,
    )
    found = settings.model_copy(update={"train": train, "model": model})
    if found != settings:
        report(
            Note(
                f"for these pairs: epochs {found.train.epochs}, "
                f"batch size {found.train.batch_size}, dropout {found.model.dropout:g}, "
                f"weight decay {found.train.weight_decay:g}"
            )
        )
    return found


def target_counts(dataset: TokenizedDataset, vocab_size: int) -> tuple[int, ...]:
    """How often each token is a target: every token of a pair but its first.

    Returns:
        [V] counts by id.
    """
    counts = np.zeros(vocab_size, dtype=np.int64)
    for ids in dataset.chunks():
        counts += np.bincount(ids, minlength=vocab_size)
    first = np.bincount(dataset.ids[dataset.offsets[:-1]], minlength=vocab_size)
    return tuple((counts - first).tolist())
