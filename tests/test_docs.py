"""docs/understanding.md and its Chinese twin: what they show is what the code prints."""

import re
from pathlib import Path

import pytest

from minigpt.cli.main import main
from minigpt.model.config import GPTConfig
from tests.documents import CHINESE, DOCS, ENGLISH, chapters, examples, run

DOCUMENTS = {path.name: path.read_text("utf-8") for path in (ENGLISH, CHINESE)}
EACH_DOCUMENT = pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS.keys())
CHAPTERS = chapters(DOCUMENTS[ENGLISH.name])
BLOCKS = re.compile(r"```.*?```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
COMMAND = re.compile(r"`minigpt ([^`]+)`")
# What somebody has computed: 0.25, 46,403,328, 8 %; but not "section 3.2.2".
FIGURE = re.compile(r"(?<![\d.])(?:\d+\.\d+(?!\.?\d)|\d{1,3}(?:,\d{3})+|\d+ ?%)")


@pytest.mark.parametrize("number", range(1, len(CHAPTERS) + 1))
def test_every_block_prints_what_stands_below_it(number: int) -> None:
    chapter = CHAPTERS[number - 1]
    assert run(chapter, name=f"chapter {number}") == examples(chapter)


@EACH_DOCUMENT
def test_there_are_eight_chapters_in_order(text: str) -> None:
    assert [int(chapter.split(".")[0]) for chapter in chapters(text)] == list(range(1, 9))


def test_both_languages_have_the_same_code_and_output() -> None:
    english, chinese = (chapters(text) for text in DOCUMENTS.values())
    for ours, theirs in zip(english, chinese, strict=True):
        assert examples(theirs) == examples(ours)


@EACH_DOCUMENT
def test_no_block_of_code_or_output_is_left_out(text: str) -> None:
    found = [example for chapter in chapters(text) for example in examples(chapter)]
    assert text.count("```python") == len(found)
    assert text.count("```text") == sum(bool(example.output) for example in found)


@EACH_DOCUMENT
def test_every_chapter_names_where_the_real_thing_stands(text: str) -> None:
    for chapter in chapters(text):
        assert any(link.startswith("../minigpt/") for link in LINK.findall(chapter)), chapter[:40]
    for link in LINK.findall(text):
        assert (DOCS / link).is_file(), link


@EACH_DOCUMENT
def test_every_figure_in_the_text_stands_in_the_code_or_its_output(text: str) -> None:
    for number, chapter in enumerate(chapters(text), start=1):
        shown = " ".join(example.code + example.output for example in examples(chapter))
        told = COMMAND.sub("", BLOCKS.sub("", chapter.partition("\n")[2]))
        shown = shown.replace("_", ",")
        assert [figure for figure in FIGURE.findall(told) if figure not in shown] == [], number


@EACH_DOCUMENT
def test_the_parameters_are_counted_to_the_last_one(text: str) -> None:
    outputs = [example.output for example in examples(chapters(text)[5])]
    total = GPTConfig(vocab_size=4_825).parameters
    assert any(f"{total:,}" in output for output in outputs)
    assert f"{total:,}" == "46,403,328"


def test_every_command_in_the_text_has_the_options_it_is_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for text in DOCUMENTS.values():
        commands = COMMAND.findall(text)
        assert len(commands) > 5
        for command in commands:
            name, *arguments = command.split()
            assert main((name, "--help")) == 0, command
            told = capsys.readouterr().out
            for option in (each for each in arguments if each.startswith("-")):
                assert re.search(rf"{option}\b", told), command


@EACH_DOCUMENT
def test_the_documents_link_to_each_other_and_stand_in_the_readmes(text: str) -> None:
    other = CHINESE if text == DOCUMENTS[ENGLISH.name] else ENGLISH
    assert other.name in LINK.findall(text)
    for readme, document in (("README.md", ENGLISH), ("README.zh-CN.md", CHINESE)):
        links = LINK.findall((Path(__file__).parents[1] / readme).read_text("utf-8"))
        assert f"docs/{document.name}" in links
