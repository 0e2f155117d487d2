"""How close a generated answer comes to the expected one, judged on its own."""

import re
from collections import Counter
from collections.abc import Sequence

# What Cui et al. 2019 leave out of account. Their list also holds "……", which as a text of two
# characters never equals the one character it is compared with: an ellipsis is not left out.
_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CHINESE_OR_RUN = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")
_STANDS_ALONE = re.compile(
    r"""
    \.{2,}
    | \.(?=[\])}>"'»]*\s*$)                    # the last full stop
    | (?<!\b[a-z])\.(?=\s)                     # the end of a sentence, not of an initial
    | ,(?!\d)                                  # 3,000 is one word
    | [;@#$%&?!()\[\]{}<>"«»‘„\u2012-\u2015] | ''
    | n't(?!\w) | '(?:s|m|d|ll|re|ve)?(?!\w)   # do n't, it 's
    | (?<!\w)'(?=\w)
    """,
    re.VERBOSE,
)


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


def cmrc_exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1 where the answer is one of the accepted texts, case and punctuation aside, else 0.

    Source: Cui et al. 2019, "A Span-Extraction Dataset for Chinese Machine Reading
    Comprehension", and its program `cmrc2018_evaluate.py`. ASCII `,.?!()"` and `…` do count
    there, and so does white space that is not at the ends.
    """
    found = _without_punctuation(answer)
    return float(any(found == _without_punctuation(text) for text in accepted))


def cmrc_f1(answer: str, accepted: Sequence[str]) -> float:
    """F1 of the longest run of segments in common with an accepted text; the best of them.

    Source: as `cmrc_exact_match`.

    Returns:
        From 0 to 1; 0 where either text has no segment, even if both have none.
    """
    found = cmrc_segments(answer)
    return max((_common_run_f1(found, cmrc_segments(text)) for text in accepted), default=0.0)


def cmrc_segments(text: str) -> list[str]:
    """Each Chinese character, and each word or mark of other text, in lower case.

    The program of Cui et al. cuts other text with NLTK's `word_tokenize`; this follows its rules
    for white space, punctuation and `'s`, but knows no English abbreviations (`mr.`) and no `gon
    na`, and does not tell opening from closing quotes.
    """
    runs = _CHINESE_OR_RUN.findall(_without_punctuation(text))
    return [word for run in runs for word in _STANDS_ALONE.sub(r" \g<0> ", run).split()]


def _without_punctuation(text: str) -> str:
    return text.lower().strip().translate(_CMRC_PUNCTUATION)


def _common_run_f1(found: list[str], wanted: list[str]) -> float:
    common = _longest_common_run(found, wanted)
    return 2 * common / (len(found) + len(wanted)) if common else 0.0


def _longest_common_run(first: list[str], second: list[str]) -> int:
    """Most segments that stand one after the other in both."""
    codes = {segment: chr(code) for code, segment in enumerate({*first, *second})}
    text, other = ("".join(map(codes.__getitem__, segments)) for segments in (first, second))
    longest = 0
    for end in range(1, len(text) + 1):
        # One end further, the longest grows by one segment at most.
        if end > longest and text[end - longest - 1 : end] in other:
            longest += 1
    return longest
