"""The exam: questions about facts of the corpus in wordings that the corpus does not use."""

import tomllib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus_sources import (
    UNKNOWN,
    Ask,
    Item,
    SourceError,
    Table,
    digest,
    items_of,
    read_ask,
    read_objects,
    skeleton,
)

FACT_QUESTIONS = 1_300


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """An exam question with the strings of which a right answer contains at least one."""

    question: str
    topic: str
    answers: tuple[str, ...]
    item: Item | None = None
    """The fact behind it; None for what nobody can know."""
    wording: str = ""


def fact_exam(tables: Sequence[Table], folder: Path) -> list[ExamQuestion]:
    """Exam questions about facts of the corpus, as many from each topic as far as they go.

    Raises:
        SourceError: An exam file names a table or a column that there is not.
    """
    sheets = {path.stem for path in folder.glob("*.toml")}
    if strays := sheets - {path.stem for path in (folder.parent / "facts").glob("*.csv")}:
        raise SourceError(f"exam: no table in facts for {sorted(strays)}")
    by_topic: dict[str, list[ExamQuestion]] = defaultdict(list)
    for table in tables:
        if table.name in sheets:
            asks = _read_asks(folder / f"{table.name}.toml", table)
            by_topic[table.topic] += _table_exam(table, asks)
    quotas = share_out(FACT_QUESTIONS, {topic: len(found) for topic, found in by_topic.items()})
    return [entry for topic in quotas for entry in _mixed(by_topic[topic])[: quotas[topic]]]


def _read_asks(path: Path, table: Table) -> list[Ask]:
    """The asks of an exam file, without those that the corpus leaves out."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["ask"]
    except ValueError as error:
        raise SourceError(f"exam/{path.name}: {error}") from error
    asks = [read_ask(entry, set(table.rows[0]), f"exam/{table.name}") for entry in entries]
    taught = {(ask.fact, ask.inverse) for ask in table.asks}
    return [ask for ask in asks if (ask.fact, ask.inverse) in taught]


def _table_exam(table: Table, asks: Sequence[Ask]) -> list[ExamQuestion]:
    """At most one question for each fact of the table: forwards or inversely, as drawn."""
    drawn: dict[tuple[str, str, str], ExamQuestion] = {}
    items = [item for ask in asks for item in items_of(table, ask)]
    for item in sorted(items, key=lambda item: digest("exam", *item.key)):
        if item.fact not in drawn and (entry := exam_question(item)):
            drawn[item.fact] = entry
    return list(drawn.values())


def exam_question(item: Item) -> ExamQuestion | None:
    """The item as an exam question, or None when its answer would be given away or is too short.

    A bare single character stands in many wrong answers too, so it is not accepted.
    """
    accepted = tuple(text for text in item.filled(item.ask.accepted).values() if len(text) > 1)
    for template in item.drawn(item.ask.questions) if accepted else ():
        question = item.fill(template)
        if not any(text.casefold() in question.casefold() for text in accepted):
            return ExamQuestion(question, item.table.topic, accepted, item, skeleton(template))
    return None


def share_out(total: int, available: dict[str, int]) -> dict[str, int]:
    """Split the total evenly; what one has not, the others give."""
    quotas: dict[str, int] = {}
    for done, name in enumerate(sorted(available, key=lambda name: (available[name], name))):
        share = -(-(total - sum(quotas.values())) // (len(available) - done))
        quotas[name] = min(share, available[name])
    return quotas


def _mixed(entries: Sequence[ExamQuestion]) -> list[ExamQuestion]:
    """In an order drawn so that each kind of fact comes once, then each twice, and so on."""
    met: Counter[tuple[str, str]] = Counter()
    turns: list[tuple[int, ExamQuestion]] = []
    for entry in sorted(entries, key=lambda entry: digest("sample", entry.question)):
        assert entry.item is not None
        kind = entry.item.table.name, entry.item.ask.fact
        turns.append((met[kind], entry))
        met[kind] += 1
    return [entry for _, entry in sorted(turns, key=lambda turn: turn[0])]


def unknown_exam(path: Path) -> list[ExamQuestion]:
    """The exam questions to which the right answer is that one cannot know.

    Raises:
        SourceError: A line is not an object of question and answers.
    """
    entries = read_objects(path, {"question", "answers"}) if path.exists() else []
    return [ExamQuestion(e["question"], UNKNOWN, tuple(e["answers"])) for e in entries]
