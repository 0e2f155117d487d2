"""The training question that is nearest to a question, by its characters."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR = 0.8
"""Score from which two questions are the same but for a slip or a particle.

One character more in a question of 20 reaches it, in a shorter one only what `normalise` leaves
out. Among 62,000 questions made from patterns, 30 % of a held-out tenth reach 0.6: the same
pattern with another name in it, which is another question; 0.1 % reach 0.8. Among 100,000 from
the web it is 9 % and 4 %: there rewordings begin at 0.6, and are not counted.
"""
_ORDER = 3  # characters
_PAD = 0x110000  # no character; one above the last of Unicode
_BITS = 21  # of _PAD and every character
_FIRST_READ = 4096  # rows read before the bound is worked out; a few microseconds

Grams = NDArray[np.uint64]
Rows = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest training question.

    Attributes:
        index: Its place among the training questions; -1 where there are none.
        score: From 0, nothing in common, to 1, the same after `normalise`.
    """

    index: int
    score: float


def normalise(text: str) -> str:
    """The text with equal forms made one (NFKC, case), without white space and punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if _is_kept(character))


def _is_kept(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] not in "PZ" and category not in ("Cc", "Cf")


class QuestionIndex:
    """Finds the nearest of many questions: the highest Jaccard index of the 3-gram sets.

    Every question is normalised and padded by two at each end, so that each of its characters
    stands in three 3-grams, and even an empty one has a 3-gram. The answer is exact.
    """

    def __init__(self, questions: Sequence[str]) -> None:
        grams, rows = _grams_and_rows(questions)
        order = np.argsort(grams, kind="stable")  # rows stay in order within a gram
        grams, rows = grams[order], rows[order]
        is_new = np.ones(len(grams), dtype=bool)
        is_new[1:] = (grams[1:] != grams[:-1]) | (rows[1:] != rows[:-1])
        self._rows: Rows = rows[is_new]
        self._grams, starts = np.unique(grams[is_new], return_index=True)
        self._bounds = np.append(starts, len(self._rows))
        self._sizes = np.bincount(self._rows, minlength=len(questions))  # [rows] 3-grams of each

    def nearest(self, questions: Sequence[str]) -> list[Nearest]:
        """The nearest training question to each of these; the first of equals."""
        return [self._nearest(question) for question in questions]

    def _nearest(self, question: str) -> Nearest:
        if not len(self._sizes):
            return Nearest(-1, 0.0)
        grams = np.unique(_grams_and_rows([question])[0])
        lists = self._lists(grams)
        read, least = self._enough(lists, len(grams))
        rows, shared = self._count(lists[:read])
        if not len(rows):
            return Nearest(0, 0.0)
        most = np.minimum(shared + len(lists) - read, self._sizes[rows])
        is_open = self._jaccard(rows, most, len(grams)) >= least
        rows, shared = rows[is_open], shared[is_open]
        for others in lists[read:]:
            shared = shared + _is_in(rows, others)
        scores = self._jaccard(rows, shared, len(grams))
        place = int(scores.argmax())
        return Nearest(int(rows[place]), float(scores[place]))

    def _lists(self, grams: Grams) -> list[Rows]:
        """The rows that hold each gram, the rarest gram first; unknown grams left out."""
        places = np.searchsorted(self._grams, grams)
        known = places < len(self._grams)
        known[known] = self._grams[places[known]] == grams[known]
        starts, stops = self._bounds[places[known]], self._bounds[places[known] + 1]
        order = np.argsort(stops - starts, kind="stable")
        return [self._rows[starts[place] : stops[place]] for place in order]

    def _enough(self, lists: list[Rows], size: int) -> tuple[int, float]:
        """How many lists hold every row that can be the nearest, and a score that one reaches.

        A row in none of the first k lists shares at most the other 3-grams: it scores at most
        (len(lists) - k) / size, and is left out where a row is known that scores more.
        """
        ends = np.cumsum([len(rows) for rows in lists])
        first = max(1, int(np.searchsorted(ends, _FIRST_READ, side="right")))
        if first >= len(lists):
            return len(lists), 0.0
        rows, shared = self._count(lists[:first])
        likely = rows[[self._jaccard(rows, shared, size).argmax()]]
        known = sum(int(_is_in(likely, others)[0]) for others in lists)
        score = known / (size + int(self._sizes[likely[0]]) - known)
        read = next(k for k in range(len(lists) + 1) if (len(lists) - k) / size < score)
        return read, score

    def _count(self, lists: list[Rows]) -> tuple[Rows, NDArray[np.int64]]:
        """The rows in any of the lists, ascending, and in how many each is."""
        rows = np.concatenate([np.empty(0, dtype=np.int32), *lists])
        if len(rows) * 8 < len(self._sizes):
            return np.unique(rows, return_counts=True)
        counts = np.bincount(rows)
        found = np.flatnonzero(counts)
        return found.astype(np.int32), counts[found]

    def _jaccard(self, rows: Rows, shared: NDArray[np.int64], size: int) -> NDArray[np.float64]:
        return shared / (size + self._sizes[rows] - shared)


def _is_in(rows: Rows, others: Rows) -> NDArray[np.bool_]:
    """Whether each row is among the others, which ascend and are not empty."""
    places = np.searchsorted(others, rows)
    return np.equal(others[np.minimum(places, len(others) - 1)], rows)


def _grams_and_rows(questions: Sequence[str]) -> tuple[Grams, Rows]:
    """The 3-grams of all questions in their order, as numbers, and the row of each.

    Three characters of 21 bits fit 64 bits exactly: different 3-grams are different numbers.
    """
    texts = [normalise(question) for question in questions]
    pad = _ORDER - 1
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    ends = np.cumsum(lengths + pad)  # two pads between neighbours serve both
    characters = "".join(texts).encode("utf-32-le", "surrogatepass")
    codes = np.full(pad + int(ends[-1] if len(ends) else 0), _PAD, dtype=np.uint64)
    is_text = np.ones(len(codes), dtype=bool)
    is_text[:pad] = False
    is_text[(ends[:, np.newaxis] + np.arange(pad)).ravel()] = False
    codes[is_text] = np.frombuffer(characters, dtype="<u4")
    shift = np.uint64(_BITS)
    grams = ((codes[:-2] << shift | codes[1:-1]) << shift) | codes[2:]
    return grams, np.repeat(np.arange(len(texts), dtype=np.int32), lengths + pad)
