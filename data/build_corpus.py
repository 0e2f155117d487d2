"""Build data.jsonl, exam.jsonl and the counts of the README: `python data/build_corpus.py`.

Nothing is left to chance: every draw and the order of the lines come from hashes of the fact or
the pair itself, so the same sources give the same bytes and one edit moves only its own lines.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus_checks import CHECKS
from corpus_exam import ExamQuestion, fact_exam, unknown_exam
from corpus_sources import (
    SOURCES,
    UNKNOWN,
    Item,
    Pair,
    SourceError,
    Table,
    digest,
    items_of,
    read_intents,
    read_tables,
    read_talk,
    skeleton,
)

HERE = Path(__file__).resolve().parent
COUNTS = re.compile(r"(?<=<!-- counts -->\n).*?(?=\n<!-- end of counts -->)", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class Corpus:
    """All that is built, with the sources it was built from."""

    tables: list[Table]
    talk: list[Pair]
    """Hand-written, no two alike."""
    intents: list[Pair]
    """The many wordings of what people say in conversation."""
    items: list[Item]
    pairs: list[Pair]
    """Facts, intents and talk together, in the order of the file."""
    exam: list[ExamQuestion]

    @property
    def facts(self) -> dict[tuple[str, str, str], str]:
        """The topic of each fact; that an invented name is unknown is none."""
        items = (item for item in self.items if item.table.topic != UNKNOWN)
        return {item.fact: item.table.topic for item in items}

    def files(self, folder: Path) -> dict[str, bytes]:
        """The bytes of each file that is written; the README is the folder's with new counts."""
        readme = (folder / "README.md").read_text(encoding="utf-8")
        data = ({"question": p.question, "answer": p.answer, "topic": p.topic} for p in self.pairs)
        exam = ({"question": e.question, "topic": e.topic, "answers": e.answers} for e in self.exam)
        return {
            "data.jsonl": _lines(data),
            "exam.jsonl": _lines(exam),
            "README.md": COUNTS.sub(lambda _: topic_table(self), readme).encode(),
        }


def _lines(entries: Iterable[object]) -> bytes:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode()


def build(sources: Path = SOURCES) -> Corpus:
    """Build the corpus from the folder of sources.

    Raises:
        SourceError: A source cannot be read.
    """
    tables, talk = read_tables(sources / "facts"), read_talk(sources / "talk")
    intents = read_intents(sources / "intents")
    items = [item for table in tables for ask in table.asks for item in items_of(table, ask)]
    pairs = talk + intents + [pair for item in items for pair in fact_pairs(item)]
    exam = fact_exam(tables, sources / "exam") + unknown_exam(sources / "exam" / "unknown.jsonl")
    return Corpus(
        tables,
        talk,
        intents,
        items,
        sorted(pairs, key=lambda pair: digest("order", pair.question, pair.answer)),
        sorted(exam, key=lambda entry: digest("order", entry.question)),
    )


def fact_pairs(item: Item) -> list[Pair]:
    """The fact asked in a few of its wordings, each answered in another phrasing."""
    questions = item.drawn(item.ask.questions)[: item.table.wordings]
    answers = item.drawn(item.ask.answers)
    return [
        Pair(
            item.fill(question),
            item.fill(answer := answers[index % len(answers)]),
            item.table.topic,
            item.place,
            skeleton(question),
            skeleton(answer),
        )
        for index, question in enumerate(questions)
    ]


def topic_table(corpus: Corpus) -> str:
    """Counts by topic, as they stand in the README."""
    counts = [
        Counter(pair.topic for pair in corpus.pairs),
        Counter(corpus.facts.values()),
        Counter(pair.topic for pair in corpus.intents),
        Counter(pair.topic for pair in corpus.talk),
        Counter(entry.topic for entry in corpus.exam),
    ]
    rows = [(topic, [count[topic] for count in counts]) for topic, _ in counts[0].most_common()]
    rows.append(("all", [count.total() for count in counts]))
    lines = [
        "| topic | pairs | facts | conversation | hand-written | exam |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [f"| {topic} | " + " | ".join(f"{n:,}" for n in row) + " |" for topic, row in rows]
    return "\n".join(lines)


def summary(corpus: Corpus) -> str:
    """The counts by topic, then lengths, characters and how varied the wordings are."""
    lengths = sorted(len(pair.question) + len(pair.answer) + 2 for pair in corpus.pairs)
    characters = {c for pair in corpus.pairs for c in pair.question + pair.answer}
    lines = [
        topic_table(corpus),
        f"{sum(lengths):,} tokens, {len(characters)} different characters; pairs of at most "
        f"{lengths[-1]} tokens, 95 % of at most {lengths[len(lengths) * 95 // 100]}",
    ]
    for name, texts in (
        ("question", Counter(pair.wording for pair in corpus.pairs)),
        ("answer", Counter(pair.phrasing for pair in corpus.pairs)),
    ):
        text, count = texts.most_common(1)[0]
        share = 100 * count / len(corpus.pairs)
        lines.append(f"{len(texts)} {name} wordings, the commonest {share:.2f} %: {text}")
    return "\n".join(lines)


def differences(corpus: Corpus, folder: Path) -> list[str]:
    """What differs between the files and what would be built: lines to go (-) and to come (+)."""
    found = []
    for name, built in corpus.files(folder).items():
        path = folder / name
        if not path.exists():
            found.append(f"{name}: missing")
        elif (held := path.read_bytes()) != built:
            old, new = Counter(held.splitlines()), Counter(built.splitlines())
            lines = [f"-{line.decode()}" for line in old - new]
            lines += [f"+{line.decode()}" for line in new - old]
            found += [f"{name}: {line}" for line in lines or ["the order of the lines"]]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, check, and write the files or compare them; the exit status."""
    parser = argparse.ArgumentParser(description="Build data.jsonl and exam.jsonl.")
    parser.add_argument("--check", action="store_true", help="compare with the files, write none")
    only_check = parser.parse_args(arguments).check
    try:
        corpus = build()
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    problems = [problem for check in CHECKS for problem in check(corpus)]
    if only_check:
        problems += differences(corpus, HERE)
    elif not problems:
        for name, content in corpus.files(HERE).items():
            (HERE / name).write_bytes(content)
    sys.stdout.write(summary(corpus) + "\n")
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
