"""The sources of the corpus, read and filled in: fact tables, intents, hand-written pairs."""

import csv
import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent / "sources"
SEED = "minigpt corpus 1"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
UNKNOWN = "不知道"
"""The topic of what nobody can know; a table of this topic holds invented names, not facts."""
WORDINGS = 6
"""In how many wordings a fact is asked. A model that is asked in wordings of its own wants many:
six for each fact gave a tiny model nine points more in the exam than five."""


class SourceError(Exception):
    """A source that cannot be read: the message names the file and what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer, with what is needed to judge and to mend them."""

    question: str
    answer: str
    topic: str
    place: str
    """Where the pair comes from, for a reader who wants to mend it."""
    wording: str
    """The question with its values replaced by {}; hand-written: the question itself."""
    phrasing: str
    """The answer likewise."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing that is asked about each row of a table, or the other way round (inverse)."""

    fact: str
    inverse: bool
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    accepted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file with the asks of the TOML file beside it."""

    name: str
    topic: str
    subject: str
    rows: tuple[Mapping[str, str], ...]
    asks: tuple[Ask, ...]
    wordings: int = WORDINGS
    """In how many of its wordings each ask is asked about a row."""


@dataclass(frozen=True, slots=True)
class Item:
    """One ask about one row: a fact, asked in one direction."""

    table: Table
    ask: Ask
    row: Mapping[str, str]

    @property
    def fact(self) -> tuple[str, str, str]:
        """The fact itself, the same in both directions: table, subject, column."""
        return self.table.name, self.row[self.table.subject], self.ask.fact

    @property
    def key(self) -> tuple[str, ...]:
        """The fact and its direction: the seed of every draw for this item."""
        return (*self.fact, "inverse" if self.ask.inverse else "")

    @property
    def place(self) -> str:
        """Where the item stands in the sources."""
        table, subject, column = self.fact
        return f"facts/{table}: {subject}, {column}{' (inverse)' * self.ask.inverse}"

    def fill(self, template: str) -> str:
        """The template with the cells of the row in place; empty when a cell it needs is empty."""
        if not all(self.row[name] for name in PLACEHOLDER.findall(template)):
            return ""
        return PLACEHOLDER.sub(lambda match: self.row[match[1]], template)

    def filled(self, templates: tuple[str, ...]) -> dict[str, str]:
        """The templates that this row can fill, with their text."""
        return {template: text for template in templates if (text := self.fill(template))}

    def drawn(self, templates: tuple[str, ...]) -> list[str]:
        """The templates that this row can fill, in the order drawn for this item."""
        return sorted(self.filled(templates), key=lambda template: digest(*self.key, template))


def skeleton(template: str) -> str:
    """The template with all its placeholders made equal: the bare wording."""
    return PLACEHOLDER.sub("{}", template)


def digest(*parts: str) -> str:
    """A number drawn from the parts alone, in hex: edits elsewhere never change it."""
    return hashlib.sha256("\x1f".join((SEED, *parts)).encode()).hexdigest()


def read_tables(folder: Path = SOURCES / "facts") -> list[Table]:
    """Read every table of the folder, in the order of names; `use = false` leaves one out.

    Raises:
        SourceError: A file of the two is missing, or the two do not fit together.
    """
    stems = {path.stem for path in folder.iterdir() if path.suffix in {".csv", ".toml"}}
    tables = (_read_table(folder / stem) for stem in sorted(stems))
    return [table for table in tables if table is not None]


def _read_table(stem: Path) -> Table | None:
    try:
        sheet = tomllib.loads(stem.with_suffix(".toml").read_text(encoding="utf-8"))
        text = stem.with_suffix(".csv").read_text(encoding="utf-8")
        header, *lines = list(csv.reader(text.splitlines(), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"facts/{stem.name}: {error}") from error
    rows = tuple(_read_row(stem.name, header, cells) for cells in lines)
    subjects = Counter(row[header[0]] for row in rows)
    if repeated := [subject for subject, count in subjects.items() if count > 1 or not subject]:
        raise SourceError(f"facts/{stem.name}.csv: subject empty or given twice: {repeated}")
    asks = tuple(read_ask(entry, set(header), stem.name) for entry in sheet["ask"])
    used = tuple(ask for ask, entry in zip(asks, sheet["ask"], strict=True) if entry.get("use", 1))
    wordings = sheet.get("wordings", WORDINGS)
    table = Table(stem.name, sheet["topic"], header[0], rows, used, wordings)
    return table if sheet.get("use", True) else None


def _read_row(name: str, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header) or any(cell != cell.strip() for cell in cells):
        raise SourceError(f"facts/{name}.csv: cells do not fit the header: {','.join(cells)}")
    return dict(zip(header, cells, strict=True))


def read_ask(entry: Mapping[str, Any], columns: set[str], name: str) -> Ask:
    """One [[ask]] of a TOML file; exam asks have no answers.

    Raises:
        SourceError: It names a column the table does not have, or says something twice.
    """
    questions, answers = tuple(entry["questions"]), tuple(entry.get("answers", ()))
    accepted = tuple(entry["accepted"])
    ask = Ask(entry["fact"], entry.get("inverse", False), questions, answers, accepted)
    templates = (f"{{{ask.fact}}}", *questions, *answers, *accepted)
    named = {column for template in templates for column in PLACEHOLDER.findall(template)}
    if unknown := named - columns:
        raise SourceError(f"{name}.toml: no column {sorted(unknown)} for the fact {ask.fact!r}")
    if repeated := [text for text, count in Counter(questions + answers).items() if count > 1]:
        raise SourceError(f"{name}.toml: given twice for the fact {ask.fact!r}: {repeated}")
    if stray := [text for text in templates if set("{}") & set(PLACEHOLDER.sub("", text))]:
        raise SourceError(f"{name}.toml: stray brace in {stray}")
    return ask


def items_of(table: Table, ask: Ask) -> Iterator[Item]:
    """The rows about which the ask can be asked: its cell is filled, and inversely also unique."""
    times = Counter(row[ask.fact] for row in table.rows)
    for row in table.rows:
        if row[ask.fact] and not (ask.inverse and times[row[ask.fact]] > 1):
            yield Item(table, ask, row)


def read_talk(folder: Path = SOURCES / "talk") -> list[Pair]:
    """Read the hand-written pairs, file by file.

    Raises:
        SourceError: A line is not an object of exactly question, answer and topic.
    """
    pairs = []
    for path in sorted(folder.glob("*.jsonl")):
        place = f"talk/{path.name}"
        for number, entry in enumerate(read_objects(path, {"question", "answer", "topic"}), 1):
            question, answer = entry["question"], entry["answer"]
            at = f"{place}:{number}"
            pairs.append(Pair(question, answer, entry["topic"], at, question, answer))
    return pairs


def read_intents(folder: Path = SOURCES / "intents") -> list[Pair]:
    """Read what people say in conversation: each wording with one of the answers of its intent.

    Raises:
        SourceError: A file cannot be read, or an intent says something twice.
    """
    pairs = []
    for path in sorted(folder.glob("*.toml")):
        try:
            sheet = tomllib.loads(path.read_text(encoding="utf-8"))
            topic, intents = sheet["topic"], sheet["intent"]
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(f"intents/{path.name}: {error}") from error
        for intent in intents:
            pairs += _intent_pairs(f"intents/{path.name}", topic, intent)
    return pairs


def _intent_pairs(place: str, topic: str, intent: Mapping[str, Any]) -> list[Pair]:
    questions, answers = intent["questions"], intent["answers"]
    at = f"{place}: {questions[0]}"
    if repeated := [text for text, n in Counter(questions + answers).items() if n > 1]:
        raise SourceError(f"{at}: given twice: {repeated}")
    pairs = []
    for question in questions:
        answer = min(answers, key=lambda answer: digest(question, answer))
        pairs.append(Pair(question, answer, topic, at, question, answer))
    return pairs


def read_objects(path: Path, keys: set[str]) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line, each with exactly these keys.

    Raises:
        SourceError: A line is something else.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise SourceError(f"{path.name}:{number}: {error}") from error
        if not isinstance(entry, dict) or set(entry) != keys:
            raise SourceError(f"{path.name}:{number}: expected an object of {sorted(keys)}")
        entries.append(entry)
    return entries
