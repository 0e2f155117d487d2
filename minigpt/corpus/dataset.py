"""Pairs as numbers: all ids in one row, and where each pair begins."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Ids, Tokenizer
from minigpt.corpus.vocab import SEP_ID, UNK_ID

SEPARATORS = 2  # <sep> after the question and <sep> after the answer
_CHUNK = 1 << 20  # ids hashed or counted at once: a mapped corpus may not fit into memory


@dataclass(frozen=True, eq=False)
class TokenizedDataset:
    """Encoded pairs, one after the other: question, `<sep>`, answer, `<sep>`.

    The arrays may be mapped from a file: whoever reads them reads only what is needed.

    Attributes:
        ids: [N] uint16, or uint32 where the vocabulary has more than 65,535 tokens.
        offsets: [pairs + 1] int64; pair i is `ids[offsets[i] : offsets[i + 1]]`.
        prompt_lengths: [pairs] int32; tokens of each question and its `<sep>`.
        kept: [pairs] int64; where each pair stands among those that were given.
        too_long: Number of pairs left out because they are over the maximum length.

    Example:
        >>> from minigpt import QAPair, TokenizedDataset, Tokenizer, build_vocab, tokenize
        >>> pairs = [QAPair("你好", "好！"), QAPair("好", "你好！")]
        >>> dataset: TokenizedDataset = tokenize(pairs, Tokenizer(build_vocab(pairs)))
        >>> dataset.n_pairs, dataset.n_tokens, dataset.pair(1).tolist()
        (2, 12, [4, 2, 3, 4, 5, 2])
    """

    ids: Ids
    offsets: NDArray[np.int64]
    prompt_lengths: NDArray[np.int32]
    kept: NDArray[np.int64]
    too_long: int

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.kept)

    @property
    def n_tokens(self) -> int:
        """Number of tokens, separators included."""
        return len(self.ids)

    def first(self, pairs: int) -> "TokenizedDataset":
        """The first so many pairs, or all."""
        pairs = min(pairs, self.n_pairs)
        return TokenizedDataset(
            ids=self.ids[: self.offsets[pairs]],
            offsets=self.offsets[: pairs + 1],
            prompt_lengths=self.prompt_lengths[:pairs],
            kept=self.kept[:pairs],
            too_long=0,
        )

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """[pairs] tokens of each pair, separators included."""
        return np.diff(self.offsets)

    @cached_property
    def unknown_tokens(self) -> int:
        """Number of `<unk>` among the ids."""
        return sum(int(np.count_nonzero(ids == UNK_ID)) for ids in self.chunks())

    @cached_property
    def sha256(self) -> str:
        """The hash, in hex, of the encoded pairs; alike on every machine."""
        digest = hashlib.sha256()
        for ids in self.chunks():
            digest.update(ids.astype(ids.dtype.newbyteorder("<")).tobytes())
        digest.update(self.offsets.astype("<i8").tobytes())
        digest.update(self.prompt_lengths.astype("<i4").tobytes())
        return digest.hexdigest()

    def chunks(self) -> Iterator[Ids]:
        """The ids, so many at once that they are soon gone through."""
        for start in range(0, self.n_tokens, _CHUNK):
            yield self.ids[start : start + _CHUNK]

    def pair(self, index: int) -> Ids:
        """The ids of one pair, as a view."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


def tokenize(
    pairs: Sequence[QAPair], tokenizer: Tokenizer, *, max_length: int = 0
) -> TokenizedDataset:
    """Encode the pairs of at most `max_length` tokens, separators included; 0 is no limit.

    Example:
        >>> from minigpt import QAPair, Tokenizer, build_vocab, tokenize
        >>> pairs = [QAPair("你好", "好！"), QAPair("你好", "你好，你好！")]
        >>> dataset = tokenize(pairs, Tokenizer(build_vocab(pairs)), max_length=8)
        >>> dataset.n_pairs, dataset.too_long
        (1, 1)
    """
    lengths = pair_lengths(pairs)
    fits = lengths.sum(axis=1) <= max_length if max_length else np.ones(len(pairs), dtype=bool)
    kept = np.flatnonzero(fits)
    part_lengths = lengths[kept]  # [pairs, 2]
    part_ends = part_lengths.ravel().cumsum()  # [pairs * 2]; each part ends with its <sep>
    texts = ((pairs[index].question, pairs[index].answer) for index in kept.tolist())
    total = int(part_ends[-1]) if kept.size else 0
    encoded = tokenizer.encode_long("".join(chain.from_iterable(texts)))
    ids = np.full(total, SEP_ID, dtype=encoded.dtype)
    is_text = np.ones(total, dtype=bool)
    is_text[part_ends - 1] = False
    ids[is_text] = encoded
    return TokenizedDataset(
        ids=ids,
        offsets=np.concatenate(([0], part_ends[1::2])),
        prompt_lengths=part_lengths[:, 0].astype(np.int32),
        kept=kept.astype(np.int64),
        too_long=len(pairs) - kept.size,
    )


def pair_lengths(pairs: Sequence[QAPair]) -> NDArray[np.int64]:
    """[pairs, 2] tokens of each question and of each answer, each with its `<sep>`."""
    lengths = [(len(pair.question) + 1, len(pair.answer) + 1) for pair in pairs]
    return np.array(lengths, dtype=np.int64).reshape(-1, SEPARATORS)
