"""The vocabulary: each character a token, each token a number."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from minigpt.corpus.qa import QAPair
from minigpt.errors import SettingsError, VocabError
from minigpt.files import check_input

PAD, UNK, SEP = "<pad>", "<unk>", "<sep>"
PAD_ID, UNK_ID, SEP_ID = 0, 1, 2
MOST_BYTES = 128 << 20  # of a vocabulary file; all of Unicode takes half of it
SPECIAL_TOKENS = (PAD, UNK, SEP)


@dataclass(frozen=True)
class Vocab:
    """All tokens in the order of their ids: the three special ones, then single characters.

    Raises:
        ValueError: The special tokens do not come first, or the others are not distinct characters.

    Example:
        >>> from minigpt import Vocab
        >>> vocab = Vocab(("<pad>", "<unk>", "<sep>", "你", "好"))
        >>> vocab.size, vocab.ids["好"], vocab.tokens[3]
        (5, 4, '你')
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.tokens[: len(SPECIAL_TOKENS)] != SPECIAL_TOKENS:
            raise ValueError(f"the tokens 0, 1 and 2 must be {', '.join(SPECIAL_TOKENS)}")
        for token in self.tokens[len(SPECIAL_TOKENS) :]:
            if len(token) != 1 or "\ud800" <= token <= "\udfff":
                raise ValueError(f"token {token!r} is not one character")
        if len(self.ids) != len(self.tokens):
            token, count = Counter(self.tokens).most_common(1)[0]
            raise ValueError(f"token {token!r} stands there {count} times")

    @property
    def size(self) -> int:
        """Number of tokens, the special ones included."""
        return len(self.tokens)

    @property
    def characters(self) -> str:
        """The tokens that are characters, in the order of their ids."""
        return "".join(self.tokens[len(SPECIAL_TOKENS) :])

    @cached_property
    def ids(self) -> Mapping[str, int]:
        """The id of each token."""
        return {token: index for index, token in enumerate(self.tokens)}

    @cached_property
    def sha256(self) -> str:
        """The hash, in hex, of the vocabulary as a file."""
        return hashlib.sha256(self._as_file).hexdigest()

    def to_bytes(self) -> bytes:
        """The vocabulary as a file: JSON with `word2id` and its inverse `id2word`, in UTF-8."""
        return self._as_file

    @cached_property
    def _as_file(self) -> bytes:
        tables = {"word2id": self.ids, "id2word": dict(enumerate(self.tokens))}
        return json.dumps(tables, ensure_ascii=False, indent=4).encode("utf-8")

    @classmethod
    def from_json(cls, data: str | bytes, *, name: str = "vocabulary") -> Self:
        """The vocabulary that `to_bytes` wrote.

        Args:
            data: The JSON text; bytes are UTF-8.
            name: Where it comes from, for the message.

        Raises:
            VocabError: It is no such JSON, or its two tables do not describe one vocabulary.
        """
        try:
            text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
            return cls(_tokens_in_order(json.loads(text)))
        except (ValueError, RecursionError) as error:
            raise VocabError(
                f"{name}: not a vocabulary: {error}", hint="build it again: minigpt vocab --force"
            ) from error


def _tokens_in_order(tables: object) -> tuple[str, ...]:
    if not isinstance(tables, dict):
        raise ValueError("not an object")
    ids, tokens = tables.get("word2id"), tables.get("id2word")
    if not isinstance(ids, dict) or not isinstance(tokens, dict):
        raise ValueError("'word2id' and 'id2word' must both be there, as objects")
    if set(tokens) != {str(index) for index in range(len(tokens))}:
        raise ValueError(f"the {len(tokens):,} ids of 'id2word' are not 0 to {len(tokens) - 1:,}")
    in_order = tuple(tokens[str(index)] for index in range(len(tokens)))
    if len(ids) != len(in_order):
        raise ValueError(f"'word2id' has {len(ids):,} tokens, 'id2word' {len(in_order):,}")
    for index, token in enumerate(in_order):
        if not isinstance(token, str):
            raise ValueError(f"token {index} is not a string")
        if type(ids.get(token)) is not int or ids[token] != index:
            raise ValueError(f"'word2id' and 'id2word' disagree on token {index}, {token!r}")
    return in_order


def count_characters(pairs: Iterable[QAPair]) -> Counter[str]:
    """How often each character stands in the questions and answers."""
    return Counter("".join(text for pair in pairs for text in (pair.question, pair.answer)))


def choose_characters(
    counts: Mapping[str, int], *, min_count: int = 1, max_size: int = 0
) -> list[str]:
    """The characters that become tokens, in code point order.

    Args:
        counts: How often each character occurs.
        min_count: Those that occur less often are left out.
        max_size: Most tokens in all, the special ones included; the most frequent characters stay,
            among equals those of the lower code point. 0 keeps all.

    Raises:
        SettingsError: Not one character occurs often enough.
    """
    frequent = [character for character, count in counts.items() if count >= min_count]
    if counts and not frequent:
        raise SettingsError(
            f"vocab.min_count = {min_count}: no character occurs that often",
            hint=f"the most frequent one occurs {max(counts.values()):,} times: lower --min-count",
        )
    if max_size:
        frequent.sort(key=lambda character: (-counts[character], character))
        del frequent[max(0, max_size - len(SPECIAL_TOKENS)) :]
    return sorted(frequent)


def build_vocab(pairs: Iterable[QAPair], *, min_count: int = 1, max_size: int = 0) -> Vocab:
    """The vocabulary of the pairs: `choose_characters` after the special tokens.

    Example:
        >>> from minigpt import QAPair, build_vocab
        >>> build_vocab([QAPair("你好", "好！")]).tokens
        ('<pad>', '<unk>', '<sep>', '你', '好', '！')
    """
    counts = count_characters(pairs)
    characters = choose_characters(counts, min_count=min_count, max_size=max_size)
    return Vocab((*SPECIAL_TOKENS, *characters))


def load_vocab(path: Path) -> Vocab:
    """Read the vocabulary file.

    Raises:
        VocabError: The file is missing, cannot be read, or holds no vocabulary.

    Example:
        >>> from pathlib import Path
        >>> from minigpt import load_vocab
        >>> load_vocab(Path("data/vocab.json")).tokens[:4]
        ('<pad>', '<unk>', '<sep>', '。')
    """
    hint = "build it: minigpt vocab"
    check_input(path, error=VocabError, what="the vocabulary", hint=hint, most=MOST_BYTES)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise VocabError(f"{path}: cannot read the vocabulary: {reason}", hint=hint) from error
    return Vocab.from_json(data, name=str(path))
