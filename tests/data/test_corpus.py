"""The bundled corpus stands to its rules, and its files are what the sources make."""

from dataclasses import replace
from pathlib import Path

import pytest

import build_corpus
import corpus_exam
from corpus_checks import (
    CHECKS,
    Check,
    alike,
    flaws,
    intents_suffice,
    normalise,
    one_answer_each,
)
from corpus_sources import (
    UNKNOWN,
    Ask,
    Item,
    Pair,
    SourceError,
    Table,
    items_of,
    read_intents,
    read_tables,
)

DATA = Path(build_corpus.__file__).parent
ASK = """
topic = "地理"

[[ask]]
fact = "sea"
questions = ["{river}流到哪里？", "{river}入什么海", "{river}的终点呢？"]
answers = ["{river}流入{sea}。", "是{sea}。"]
accepted = ["{sea}"]
"""
INTENT = """
topic = "日常对话"

[[intent]]
questions = ["你好", "嗨", "哈喽"]
answers = ["你好呀。", "很高兴见到你。"]
"""


@pytest.fixture(scope="module")
def corpus() -> build_corpus.Corpus:
    return build_corpus.build()


@pytest.fixture
def table() -> Table:
    rows = tuple(
        {"river": river, "sea": sea} for river, sea in (("长江", "东海"), ("黄河", "渤海"))
    )
    ask = Ask("sea", False, ("{river}流到哪里？", "{river}入什么海"), ("{sea}。",), ("{sea}",))
    inverse = Ask("sea", True, ("什么河入{sea}？",), ("{river}。",), ("{river}",))
    return Table("rivers", "地理", "river", rows, (ask, inverse))


def test_the_files_are_byte_for_byte_what_the_sources_make(corpus: build_corpus.Corpus) -> None:
    assert build_corpus.differences(corpus, DATA)[:10] == [], "run: python data/build_corpus.py"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_corpus_keeps_the_rule(corpus: build_corpus.Corpus, check: Check) -> None:
    assert list(check(corpus))[:10] == []


def test_no_exam_question_stands_in_the_training_data(corpus: build_corpus.Corpus) -> None:
    taught = {normalise(pair.question) for pair in corpus.pairs}

    assert [entry for entry in corpus.exam if normalise(entry.question) in taught] == []


def test_an_edit_of_one_row_leaves_the_other_rows_alone(table: Table) -> None:
    edited = replace(table, rows=({"river": "长江", "sea": "黄海"}, table.rows[1]))

    before, after = (
        [build_corpus.fact_pairs(item) for ask in one.asks for item in items_of(one, ask)]
        for one in (table, edited)
    )

    assert before[1] == after[1]
    assert before[0] != after[0]


def test_a_fact_is_asked_inversely_only_where_its_value_is_unique(table: Table) -> None:
    shared = replace(table, rows=(*table.rows, {"river": "海河", "sea": "渤海"}))

    asked = [item.row["river"] for item in items_of(shared, shared.asks[1])]

    assert asked == ["长江"]


def test_an_empty_cell_asks_nothing_and_fills_no_template(table: Table) -> None:
    empty = replace(table, rows=({"river": "塔里木河", "sea": ""},))

    assert list(items_of(empty, empty.asks[0])) == []
    assert Item(empty, empty.asks[0], empty.rows[0]).filled(("{river}。", "{sea}。")) == {
        "{river}。": "塔里木河。"
    }


def test_a_table_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "rivers.csv").write_text("river,sea\n长江,东海\n", encoding="utf-8")
    (tmp_path / "rivers.toml").write_text("use = false\n" + ASK, encoding="utf-8")

    assert read_tables(tmp_path) == []


def test_a_table_of_invented_names_has_its_own_number_of_wordings_and_no_facts(
    tmp_path: Path,
) -> None:
    (tmp_path / "rivers.csv").write_text("river,sea\n长江,东海\n", encoding="utf-8")
    unknown = ASK.replace("地理", UNKNOWN)
    (tmp_path / "rivers.toml").write_text("wordings = 2\n" + unknown, encoding="utf-8")
    (table,) = read_tables(tmp_path)

    (item,) = items_of(table, table.asks[0])

    assert len(build_corpus.fact_pairs(item)) == 2
    assert build_corpus.Corpus([table], [], [], [item], [], []).facts == {}


@pytest.mark.parametrize(
    ("rows", "ask", "named"),
    [
        ("river,sea\n长江,东海,1\n", ASK, "长江,东海,1"),
        ("river,sea\n长江,东海\n长江,渤海\n", ASK, "长江"),
        ("river,sea\n长江,东海\n", ASK.replace("{sea}。", "{see}。"), "see"),
    ],
    ids=["a cell too many", "a subject twice", "a column that is not there"],
)
def test_a_broken_table_is_named(tmp_path: Path, rows: str, ask: str, named: str) -> None:
    (tmp_path / "rivers.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "rivers.toml").write_text(ask, encoding="utf-8")

    with pytest.raises(SourceError, match=rf"rivers.*{named}"):
        read_tables(tmp_path)


def test_a_question_with_two_sources_is_found_with_both(table: Table) -> None:
    talk = Pair("长江入什么海？", "东海。", "地理", "talk/sea.jsonl:1", "", "")
    items = list(items_of(table, table.asks[0]))

    found = list(one_answer_each(build_corpus.Corpus([table], [talk], [], items, [talk], [])))

    assert len(found) == 1
    assert "talk/sea.jsonl:1" in found[0]
    assert "facts/rivers: 长江, sea" in found[0]


def test_an_intent_answers_each_wording_with_one_of_its_answers(tmp_path: Path) -> None:
    (tmp_path / "greetings.toml").write_text(INTENT, encoding="utf-8")

    pairs = read_intents(tmp_path)

    assert [pair.question for pair in pairs] == ["你好", "嗨", "哈喽"]
    assert {pair.answer for pair in pairs} <= {"你好呀。", "很高兴见到你。"}
    assert {pair.topic for pair in pairs} == {"日常对话"}


def test_a_wording_added_to_an_intent_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "greetings.toml").write_text(INTENT, encoding="utf-8")
    before = read_intents(tmp_path)
    more = INTENT.replace('"嗨"', '"您好", "嗨"')
    (tmp_path / "greetings.toml").write_text(more, encoding="utf-8")

    after = read_intents(tmp_path)

    assert set(before) < set(after)


def test_a_wording_given_twice_in_an_intent_is_named(tmp_path: Path) -> None:
    (tmp_path / "greetings.toml").write_text(INTENT.replace("嗨", "你好"), encoding="utf-8")

    with pytest.raises(SourceError, match=r"greetings.*你好"):
        read_intents(tmp_path)


def test_an_intent_with_too_few_wordings_or_a_borrowed_answer_is_found() -> None:
    pairs = [Pair(f"{n}", "好。", "日常对话", f"intents/{n % 2}", "", "") for n in range(10)]

    found = list(intents_suffice(build_corpus.Corpus([], [], pairs, [], pairs, [])))

    assert found == [
        "intents/0: 5 wordings, wanted 8",
        "intents/1: 5 wordings, wanted 8",
        "好。 answers intents/0 and intents/1",
    ]


def test_near_duplicates_are_found_as_by_comparing_all() -> None:
    texts = [
        "为什么天空在晴朗的白天看起来是蓝色的而不是别的颜色呢",
        "为什么天空在晴朗的白天看起来是蓝色的而不是别的颜色",
        "为什么海水看起来是蓝色的",
        "你好",
        "你好！",
    ]

    assert list(alike(texts)) == [(0, 1), (3, 4)]


def test_questions_that_differ_in_a_sign_or_digit_differ() -> None:
    assert normalise("３ ＋ ２＝？") == normalise("3+2=") != normalise("3-2=")
    assert normalise("Hello，World！") == normalise("hello world")


@pytest.mark.parametrize(
    "text", ["你好,世界。", "长江。。", "他说“好。", "有 空格吗", "１个", "一\n二", "“”）（", ""]
)
def test_a_flaw_of_the_text_is_seen(text: str) -> None:
    assert list(flaws(text))


@pytest.mark.parametrize("text", ["圆周率约为3.14。", "Don't panic的意思是别慌。", "他问：“谁？”"])
def test_sound_text_has_no_flaw(text: str) -> None:
    assert list(flaws(text)) == []


def test_shares_are_even_as_far_as_they_go() -> None:
    assert corpus_exam.share_out(10, {"a": 1, "b": 9, "c": 9}) == {"a": 1, "b": 5, "c": 4}
    assert corpus_exam.share_out(10, {"a": 1, "b": 2}) == {"a": 1, "b": 2}


def test_an_exam_question_neither_gives_its_answer_away_nor_takes_one_character(
    table: Table,
) -> None:
    revealing = replace(table.asks[0], questions=("{river}流入{sea}吗？", "{river}去哪？"))
    short = replace(table.asks[0], accepted=("海",))

    entry = corpus_exam.exam_question(Item(table, revealing, table.rows[0]))

    assert entry is not None
    assert entry.question == "长江去哪？"
    assert corpus_exam.exam_question(Item(table, short, table.rows[0])) is None
