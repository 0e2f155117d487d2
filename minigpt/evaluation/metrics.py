"""How close a generated answer comes to the expected one, per character."""

from collections import Counter
from collections.abc import Sequence


def exact_match(answer: str, expected: str) -> bool:
    """Whether both are the same, white space at the ends aside."""
    return answer.strip() == expected.strip()


def character_f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall over characters, each counted as often as it stands.

    Source: Rajpurkar et al. 2016, "SQuAD", section 6.1, with characters in place of words.

    Returns:
        From 0 to 1; two empty texts agree.
    """
    found, wanted = Counter(answer.strip()), Counter(expected.strip())
    if not found or not wanted:
        return float(found == wanted)
    common = (found & wanted).total()
    return 2 * common / (found.total() + wanted.total())


def contains_any(answer: str, accepted: Sequence[str]) -> bool:
    """Whether one of the accepted texts stands in the answer."""
    return any(text in answer for text in accepted)
