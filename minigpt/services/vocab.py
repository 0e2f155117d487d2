"""`minigpt vocab`: the data's characters become a vocabulary file."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from minigpt.corpus.scan import count_characters_in
from minigpt.corpus.vocab import SPECIAL_TOKENS, Vocab, choose_characters
from minigpt.events import Report, ignore
from minigpt.files import Status, check_distinct, write_file
from minigpt.services.read import data_file
from minigpt.settings import Settings

MOST_COMMON = 10


@dataclass(frozen=True, slots=True)
class VocabResult:
    """What `build_vocabulary` made.

    Attributes:
        source: The data file.
        path: The vocabulary file.
        status: Whether it was written, or already said the same.
        size: Number of tokens, the three special ones included.
        sha256: Hash of the vocabulary.
        pairs: Number of pairs read.
        skipped: Number of bad lines left out.
        characters: Number of distinct characters in the pairs.
        dropped: Number of them that are no token, by `min_count` or `max_size`.
        unknown_share: Share of the text that therefore is `<unk>`.
        most_common: The most frequent characters and how often they occur.
    """

    source: Path
    path: Path
    status: Status
    size: int
    sha256: str
    pairs: int
    skipped: int
    characters: int
    dropped: int
    unknown_share: float
    most_common: tuple[tuple[str, int], ...]


def build_vocabulary(
    settings: Settings, *, force: bool = False, report: Report = ignore
) -> VocabResult:
    """Build the vocabulary of `[data] source` and write it to `[data] vocab`.

    Raises:
        SettingsError: Both are one file, or no character occurs often enough.
        DataError: The source cannot be read or has no valid pair.
        OutputError: The vocabulary cannot be written, or is another one and `force` is not given.

    Example:
        >>> from minigpt import build_vocabulary, load_settings
        >>> result = build_vocabulary(load_settings())  # data/data.jsonl -> data/vocab.json
        >>> result.size, result.status
        (36, 'unchanged')
    """
    data = settings.data
    inputs = [data.source, *settings.files]
    check_distinct(data.vocab, inputs, what="the vocabulary", option="--output")
    counts, scan = count_characters_in(data_file(data.source, data), report)
    characters = choose_characters(
        counts, min_count=settings.vocab.min_count, max_size=settings.vocab.max_size
    )
    vocab = Vocab((*SPECIAL_TOKENS, *characters))
    return VocabResult(
        source=data.source,
        path=data.vocab,
        status=write_file(data.vocab, vocab.to_bytes(), force=force),
        size=vocab.size,
        sha256=vocab.sha256,
        pairs=scan.pairs,
        skipped=scan.skipped,
        characters=len(counts),
        dropped=len(counts) - len(characters),
        unknown_share=_share_left_out(counts, characters),
        most_common=tuple(
            sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_COMMON]
        ),
    )


def _share_left_out(counts: Counter[str], characters: list[str]) -> float:
    kept = sum(counts[character] for character in characters)
    return 1 - kept / counts.total()
