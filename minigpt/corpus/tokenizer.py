"""Text to ids and back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minigpt.corpus.vocab import PAD_ID, SEP_ID, SPECIAL_TOKENS, UNK_ID, Vocab

Ids = NDArray[np.uint16] | NDArray[np.uint32]

CODE_POINTS = 0x110000  # Unicode ends at U+10FFFF
_MOST_UINT16 = 65_535  # tokens


@dataclass(frozen=True)
class Tokenizer:
    """One token a character; what the vocabulary lacks becomes `<unk>`.

    Special tokens never come from text: a text that says "<sep>" is five characters.

    Example:
        >>> from minigpt import QAPair, Tokenizer, build_vocab
        >>> tokenizer = Tokenizer(build_vocab([QAPair("你好", "好！")]))
        >>> tokenizer.encode_pair("你好", "好！"), tokenizer.encode_prompt("您好")
        ([3, 4, 2, 4, 5, 2], [1, 4, 2])
        >>> tokenizer.decode([4, 5])
        '好！'
    """

    vocab: Vocab

    def encode(self, text: str) -> list[int]:
        """The ids of the characters of `text`."""
        ids = self.vocab.ids
        return [ids.get(character, UNK_ID) for character in text]

    def encode_prompt(self, question: str) -> list[int]:
        """Question and `<sep>`: what the model continues with an answer."""
        return [*self.encode(question), SEP_ID]

    def encode_pair(self, question: str, answer: str) -> list[int]:
        """Question, `<sep>`, answer, `<sep>`; the last one tells the model to stop."""
        return [*self.encode_prompt(question), *self.encode(answer), SEP_ID]

    def encode_long(self, text: str) -> Ids:
        """The same as `encode`, for text of many pairs at once."""
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        return self._table.take(code_points)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids; `<pad>` is skipped, `<unk>` and `<sep>` are shown by name.

        Raises:
            ValueError: An id is not in the vocabulary.
        """
        return "".join(self._token(index) for index in ids if index != PAD_ID)

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of `text` that the vocabulary lacks, in order of appearance."""
        ids = self.vocab.ids
        return [character for character in dict.fromkeys(text) if character not in ids]

    def _token(self, index: int) -> str:
        if not 0 <= index < self.vocab.size:
            raise ValueError(f"id {index} is not in a vocabulary of {self.vocab.size} tokens")
        return self.vocab.tokens[index]

    @cached_property
    def _table(self) -> Ids:
        return id_table(self.vocab.characters)


def id_table(characters: str) -> Ids:
    """The id of every code point, for `take`.

    Args:
        characters: Those of a vocabulary, in the order of their ids.

    Returns:
        [code points] uint16, or uint32 where the vocabulary has more than 65,535 tokens.
    """
    size = len(SPECIAL_TOKENS) + len(characters)
    table = np.full(CODE_POINTS, UNK_ID, dtype="<u2" if size <= _MOST_UINT16 else "<u4")
    points = np.frombuffer(characters.encode("utf-32-le"), dtype="<u4")
    table[points] = np.arange(len(SPECIAL_TOKENS), size)
    return table


def pad(ids: Sequence[int], max_length: int) -> tuple[list[int], list[int]]:
    """Bring ids to one length: the beginning is kept, `<pad>` is added on the right.

    Training does not need it: it is the plain form that the lesson shows.

    Returns:
        `max_length` ids and their attention mask: 1 for an id that was given, 0 for a pad.
    """
    kept = list(ids[:max_length])
    pads = max_length - len(kept)
    return kept + [PAD_ID] * pads, [1] * len(kept) + [0] * pads
