"""The rules of the corpus: each check yields what breaks its rule, and where to mend it."""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from corpus_sources import Table, skeleton

if TYPE_CHECKING:
    from build_corpus import Corpus

Check = Callable[["Corpus"], Iterator[str]]

TOPICS = """
    美食 城市与省份 国家与首都 企业家与公司 汽车 名人 历史与朝代 文学与诗词
    科学与自然 动物与植物 生活常识 语言 数学 日常对话 助手自我介绍
"""
MAX_TOKENS, USUAL_TOKENS = 140, 80
ALIKE = 0.85

CHINESE = r"[\u3400-\u9fff\u3000-\u303f\uff00-\uffef“”‘’…—]"
SENTENCE_END = re.compile(r"[。！？…][”’》）』」]*$")
CONFUSED = (
    (re.compile(rf"{CHINESE}[,?!:;()\"'.]|[,?!:;()\"']{CHINESE}"), "half-width punctuation"),
    (re.compile(r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]"), "full-width letter or digit"),
    (re.compile(r"[\u3000]|\s\s|^\s|\s$"), "stray space"),
    (re.compile(rf"{CHINESE} {CHINESE}"), "space between Chinese characters"),
    (re.compile(r"[。，、；：？！][。，、；：]|[，、；：][？！]|[。！]{2}"), "doubled punctuation"),
    (re.compile(r"[{}<>_*`\\|]"), "markup"),
)
BRACKETS = (("“", "”"), ("‘", "’"), ("（", "）"), ("《", "》"))


def normalise(text: str) -> str:
    """What is left of a question when width, case, spaces and punctuation do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if c in "+-×÷=" or not _ignored(c))


def _ignored(character: str) -> bool:
    return character.isspace() or unicodedata.category(character).startswith("P")


def large_enough(corpus: "Corpus") -> Iterator[str]:
    """24,000 pairs, 12 topics and all that are promised, 4,000 facts and 4,000 written pairs."""
    for name, count, least in (
        ("pairs", len({(p.question, p.answer) for p in corpus.pairs}), 24_000),
        ("facts", len(corpus.facts), 4_000),
        ("hand-written pairs", len(corpus.talk), 4_000),
        ("topics", len({p.topic for p in corpus.pairs}), 12),
        ("characters", len({c for p in corpus.pairs for c in p.question + p.answer}), 3_000),
    ):
        if count < least:
            yield f"{count} {name}, at least {least} are wanted"
    for topic in TOPICS.split():
        if all(pair.topic != topic for pair in corpus.pairs):
            yield f"no pair of the topic {topic}"


def short_enough(corpus: "Corpus") -> Iterator[str]:
    """Question and answer with two separators: at most 140 tokens, 95 % of them at most 80."""
    long = 0
    for pair in corpus.pairs:
        length = len(pair.question) + len(pair.answer) + 2
        long += length > USUAL_TOKENS
        if length > MAX_TOKENS:
            yield f"{pair.place}: {length} tokens, at most {MAX_TOKENS}: {pair.question}"
    if long > 0.05 * len(corpus.pairs):
        yield f"{long} of {len(corpus.pairs)} pairs have more than {USUAL_TOKENS} tokens"


def one_answer_each(corpus: "Corpus") -> Iterator[str]:
    """No question has two sources, in none of the wordings that a fact could be asked in."""
    places: dict[str, set[str]] = defaultdict(set)
    for pair in corpus.talk + corpus.intents:
        places[normalise(pair.question)].add(pair.place)
    for item in corpus.items:
        for question in item.filled(item.ask.questions).values():
            places[normalise(question)].add(item.place)
    for question, found in places.items():
        if len(found) > 1:
            yield f"{question!r} is asked in {' and in '.join(sorted(found))}"


def no_pair_twice(corpus: "Corpus") -> Iterator[str]:
    """Questions are distinct once normalised, so that no pair stands twice."""
    counts = Counter(normalise(pair.question) for pair in corpus.pairs)
    for pair in corpus.pairs:
        if counts[normalise(pair.question)] > 1:
            yield f"{pair.place}: asked more than once: {pair.question}"


def no_wording_dominates(corpus: "Corpus") -> Iterator[str]:
    """No question wording makes more than 1 % of the pairs."""
    for wording, count in Counter(pair.wording for pair in corpus.pairs).items():
        if count > 0.01 * len(corpus.pairs):
            yield f"{count} of {len(corpus.pairs)} pairs are worded {wording}"


def written_pairs_differ(corpus: "Corpus") -> Iterator[str]:
    """No two hand-written questions are alike, nor two answers."""
    for kind, texts in (
        ("questions", [pair.question for pair in corpus.talk]),
        ("answers", [pair.answer for pair in corpus.talk]),
    ):
        for first, second in alike(texts):
            one, other = corpus.talk[first], corpus.talk[second]
            yield (f"{kind} alike: {one.place} {texts[first]} / {other.place} {texts[second]}")


def intents_suffice(corpus: "Corpus") -> Iterator[str]:
    """Every intent has at least eight wordings, and answers that no other intent gives."""
    wordings = Counter(pair.place for pair in corpus.intents)
    yield from (f"{place}: {n} wordings, wanted 8" for place, n in wordings.items() if n < 8)
    places: dict[str, set[str]] = defaultdict(set)
    for pair in corpus.intents:
        places[pair.answer].add(pair.place)
    for answer, found in places.items():
        if len(found) > 1:
            yield f"{answer} answers {' and '.join(sorted(found))}"


def alike(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of texts whose sets of three-character pieces have a Jaccard index above ALIKE.

    Two such sets share one of the rarest pieces of each, as many as the others allow to differ
    (prefix filtering), so only texts that meet there are compared.
    """
    pieces = [_pieces(normalise(text)) for text in texts]
    counts = Counter(piece for found in pieces for piece in found)
    met: dict[str, list[int]] = defaultdict(list)
    for index, found in enumerate(pieces):
        rarest = sorted(found, key=lambda piece: (counts[piece], piece))
        prefix = rarest[: len(found) - math.ceil(ALIKE * len(found)) + 1]
        for other in sorted({other for piece in prefix for other in met[piece]}):
            if len(found & pieces[other]) > ALIKE * len(found | pieces[other]):
                yield other, index
        for piece in prefix:
            met[piece].append(index)


def _pieces(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 3] for i in range(max(1, len(text) - 2)))


def clean_text(corpus: "Corpus") -> Iterator[str]:
    """No control characters, no mixture of half and full width, no unbalanced brackets."""
    for pair in corpus.pairs:
        for text in (pair.question, pair.answer):
            yield from (f"{pair.place}: {flaw}: {text}" for flaw in flaws(text))
    for entry in corpus.exam:
        yield from (f"exam: {flaw}: {entry.question}" for flaw in flaws(entry.question))


def flaws(text: str) -> Iterator[str]:
    """What is wrong with the characters of the text."""
    if not text or any(unicodedata.category(c).startswith("C") for c in text):
        yield "empty, or a control character"
    yield from (name for pattern, name in CONFUSED if pattern.search(text))
    for left, right in BRACKETS:
        depth = 0
        for character in text:
            depth += (character == left) - (character == right)
            if depth not in (0, 1):
                break
        if depth:
            yield f"unbalanced {left}{right}"


def answers_end(corpus: "Corpus") -> Iterator[str]:
    """Every answer ends as a sentence does."""
    for pair in corpus.pairs:
        if not SENTENCE_END.search(pair.answer):
            yield f"{pair.place}: no end of a sentence: {pair.answer}"


def answers_hold_the_fact(corpus: "Corpus") -> Iterator[str]:
    """Every phrasing of the answer to a fact contains what is accepted as right."""
    for item in corpus.items:
        accepted = item.filled(item.ask.accepted).values()
        for answer in item.filled(item.ask.answers).values():
            if not any(text in answer for text in accepted):
                yield f"{item.place}: none of {list(accepted)} is in {answer}"


def wordings_suffice(corpus: "Corpus") -> Iterator[str]:
    """Every fact has at least six wordings and three phrasings, so that draws differ."""
    for item in corpus.items:
        questions, answers = (len(item.filled(t)) for t in (item.ask.questions, item.ask.answers))
        if questions < 6 or answers < 3:
            yield f"{item.place}: {questions} wordings and {answers} phrasings, wanted 6 and 3"


def exam_large_enough(corpus: "Corpus") -> Iterator[str]:
    """1,200 exam questions about facts and 150 about what nobody can know."""
    facts = sum(entry.item is not None for entry in corpus.exam)
    if facts < 1_200 or len(corpus.exam) - facts < 150:
        yield f"exam: {facts} facts and {len(corpus.exam) - facts} unknown, wanted 1200 and 150"


def exam_unseen(corpus: "Corpus") -> Iterator[str]:
    """No exam question is taught, no wording is taken from its table, and none stands twice."""
    taught = {normalise(pair.question): pair.place for pair in corpus.pairs}
    wordings = {(t.name, normalise(skeleton(q))) for t in corpus.tables for q in _wordings(t)}
    counts = Counter(normalise(entry.question) for entry in corpus.exam)
    for entry in corpus.exam:
        question = normalise(entry.question)
        if question in taught:
            yield f"exam: taught in {taught[question]}: {entry.question}"
        name = entry.item.table.name if entry.item else ""
        if (name, normalise(entry.wording)) in wordings:
            yield f"exam/{name}.toml: a wording of facts/{name}.toml: {entry.wording}"
        if counts[question] > 1:
            yield f"exam: asked more than once: {entry.question}"


def _wordings(table: Table) -> Iterator[str]:
    return (question for ask in table.asks for question in ask.questions)


def exam_answerable(corpus: "Corpus") -> Iterator[str]:
    """What is taught passes the exam; no question gives its answer away or needs new characters."""
    taught = {item.key: item for item in corpus.items}
    known = {c for pair in corpus.pairs for c in pair.question + pair.answer}
    for entry in corpus.exam:
        if strange := set(entry.question) - known:
            yield f"exam: characters that are never taught, {sorted(strange)}: {entry.question}"
        if not entry.answers or any(len(text) < 2 or not text.strip() for text in entry.answers):
            yield f"exam: accepted answers too short or missing: {entry.question}"
        if any(text.casefold() in entry.question.casefold() for text in entry.answers):
            yield f"exam: gives its answer away: {entry.question}"
        item = taught[entry.item.key] if entry.item else None
        for answer in item.filled(item.ask.answers).values() if item else ():
            if not any(text in answer for text in entry.answers):
                yield f"exam: {entry.question} refuses what is taught: {answer}"


CHECKS: tuple[Check, ...] = (
    large_enough,
    short_enough,
    one_answer_each,
    no_pair_twice,
    no_wording_dominates,
    written_pairs_differ,
    intents_suffice,
    clean_text,
    answers_end,
    answers_hold_the_fact,
    wordings_suffice,
    exam_large_enough,
    exam_unseen,
    exam_answerable,
)
