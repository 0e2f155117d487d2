import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.corpus.clusters import extends
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import build_vocab
from minigpt.errors import CheckpointError, DataError
from minigpt.evaluation.repetition import is_loop
from minigpt.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.services.chat import Answer, ChatSession
from minigpt.settings import Settings
from tests.services.tiny import PAIRS, Finished, tiny_settings

QUESTIONS = [question for question, _ in PAIRS[:5]]
TOO_LONG = "几" * 32  # with its <sep> more than the 32 tokens of the training


def open_chat(finished: Finished, **changes: Any) -> ChatSession:
    values = {f"chat__{name}": value for name, value in changes.items()}
    return ChatSession.open(tiny_settings(finished.root, **values))


def asked(session: ChatSession, question: str) -> Answer:
    pieces = list(session.ask(question))
    assert "".join(pieces) == session.last.text
    return session.last


def plain(answer: Answer) -> tuple[object, ...]:
    """All but the time."""
    return (answer.question, answer.text, answer.stop_reason, answer.seed, answer.tokens)


def test_seeded_answers_repeat(finished: Finished) -> None:
    first, second = (open_chat(finished, seed=7) for _ in range(2))
    for question in QUESTIONS:
        assert plain(asked(first, question)) == plain(asked(second, question))


def test_another_seed_gives_another_conversation(finished: Finished) -> None:
    sessions = (open_chat(finished, seed=seed, temperature=3.0, top_k=0) for seed in (7, 1000))
    first, second = ([asked(session, q).text for q in QUESTIONS] for session in sessions)
    assert first != second


def test_each_answer_can_be_drawn_again_by_its_own_seed(finished: Finished) -> None:
    session = open_chat(finished)
    for question in QUESTIONS:
        answer = asked(session, question)
        assert plain(asked(open_chat(finished, seed=answer.seed), question)) == plain(answer)


def test_fresh_seeds_differ(finished: Finished) -> None:
    seeds = {asked(open_chat(finished), QUESTIONS[0]).seed for _ in range(5)}
    assert len(seeds) == 5


@pytest.mark.parametrize("temperature", [0.0, 0.8, 2.0])
def test_asking_together_is_asking_one_by_one(finished: Finished, temperature: float) -> None:
    alone = open_chat(finished, seed=3, temperature=temperature)
    together = open_chat(finished, seed=3, temperature=temperature)
    questions = [*QUESTIONS, "", "几"]
    one_by_one = [plain(asked(alone, question)) for question in questions]
    assert [plain(answer) for answer in together.ask_many(questions)] == one_by_one


def test_no_questions_have_no_answers(finished: Finished) -> None:
    assert open_chat(finished).ask_many([]) == []


def test_temperature_zero_is_the_same_for_any_seed(finished: Finished) -> None:
    sessions = [open_chat(finished, temperature=0.0, seed=seed) for seed in (1, 2)]
    first, second = ([asked(session, q).text for q in QUESTIONS] for session in sessions)
    assert first == second


def test_an_answer_has_at_most_the_wanted_tokens(finished: Finished) -> None:
    session = open_chat(finished, max_new_tokens=1, seed=0)
    for question in QUESTIONS:
        answer = asked(session, question)
        assert answer.tokens == len(answer.text) <= 1
        assert (answer.stop_reason == "length") == (answer.tokens == 1)


def test_an_answer_ends_where_the_training_did(finished: Finished) -> None:
    session = open_chat(finished, max_new_tokens=1000, temperature=2.0, seed=0)
    for question in QUESTIONS:
        assert len(question) + 1 + asked(session, question).tokens <= 32


def test_a_question_too_long_is_refused_with_both_numbers(finished: Finished) -> None:
    session = open_chat(finished)
    with pytest.raises(DataError, match=r"32 characters.* at most 32 tokens") as caught:
        list(session.ask(TOO_LONG))
    assert "shorter" in caught.value.hint


def test_the_longest_question_is_answered_by_one_token(finished: Finished) -> None:
    answer = asked(open_chat(finished, seed=0), "几" * 30)  # 30 + <sep> of 32
    assert answer.stop_reason in {"stop", "length"}
    assert answer.tokens <= 1


def test_a_question_too_long_is_marked_among_others(finished: Finished) -> None:
    answers = open_chat(finished, seed=0).ask_many([QUESTIONS[0], TOO_LONG, QUESTIONS[1]])
    assert [answer.stop_reason == "too long" for answer in answers] == [False, True, False]
    assert (answers[1].text, answers[1].tokens) == ("", 0)
    assert [answer.question for answer in answers] == [QUESTIONS[0], TOO_LONG, QUESTIONS[1]]


def test_questions_that_are_all_too_long_are_marked(finished: Finished) -> None:
    answers = open_chat(finished).ask_many([TOO_LONG, TOO_LONG])
    assert [answer.stop_reason for answer in answers] == ["too long", "too long"]


def test_unknown_characters_are_named_once_in_order(finished: Finished) -> None:
    session = open_chat(finished)
    assert asked(session, "1加z等于a，z？").unknown == ("z", "a", "，")
    assert session.ask_many(["几b"])[0].unknown == ("b",)
    assert asked(session, QUESTIONS[0]).unknown == ()


def test_an_answer_holds_no_special_tokens(finished: Finished) -> None:
    session = open_chat(finished, temperature=50.0, top_k=0, seed=0)
    known = set(load_checkpoint(finished.run_dir).vocab.tokens[3:])
    for question in QUESTIONS * 4:
        assert set(asked(session, question).text) <= known


def until(pieces: Iterator[str], count: int) -> list[str]:
    return [next(pieces) for _ in range(count)]


def never_ending(finished: Finished) -> tuple[ChatSession, str]:
    """A session and a question whose answer has at least two characters."""
    for seed in range(50):
        session = open_chat(finished, seed=seed, temperature=2.0)
        if asked(session, QUESTIONS[0]).tokens >= 2:
            return open_chat(finished, seed=seed, temperature=2.0), QUESTIONS[0]
    raise AssertionError


def test_an_answer_left_in_the_middle_is_interrupted(finished: Finished) -> None:
    session, question = never_ending(finished)
    pieces = session.ask(question)
    said = until(pieces, 1)
    pieces.close()
    assert session.last.stop_reason == "interrupted"
    assert session.last.text == "".join(said)
    assert session.last.question == question


def test_an_answer_after_an_interrupted_one_is_whole(finished: Finished) -> None:
    session, question = never_ending(finished)
    untouched, _ = never_ending(finished)
    with contextlib.suppress(KeyboardInterrupt):
        for _ in session.ask(question):
            raise KeyboardInterrupt
    assert session.last.stop_reason == "interrupted"
    asked(untouched, question)
    assert plain(asked(session, QUESTIONS[1])) == plain(asked(untouched, QUESTIONS[1]))


def test_last_is_the_latest_answer(finished: Finished) -> None:
    session = open_chat(finished, seed=0)
    for question in QUESTIONS:
        assert asked(session, question).question == question
        assert session.last.seconds >= 0


def test_a_checkpoint_file_answers_like_its_run_directory(finished: Finished) -> None:
    by_file = open_chat(finished, seed=1, checkpoint=finished.result.best)
    by_run = open_chat(finished, seed=1)
    assert plain(asked(by_file, QUESTIONS[0])) == plain(asked(by_run, QUESTIONS[0]))


def test_a_checkpoint_needs_no_other_file(finished: Finished, tmp_path: Path) -> None:
    alone = tmp_path / "shared.safetensors"
    alone.write_bytes(finished.result.best.read_bytes())
    settings = tiny_settings(tmp_path, chat__checkpoint=alone, chat__seed=1)
    answer = asked(ChatSession.open(settings), QUESTIONS[0])
    assert plain(answer) == plain(asked(open_chat(finished, seed=1), QUESTIONS[0]))


def test_a_missing_checkpoint_is_a_checkpoint_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="output") as caught:
        ChatSession.open(tiny_settings(tmp_path))
    assert "minigpt train" in caught.value.hint


def test_the_answer_is_decoded_by_the_checkpoints_own_vocabulary(finished: Finished) -> None:
    session = open_chat(finished)
    vocab = load_checkpoint(finished.run_dir).vocab
    text = QUESTIONS[0]
    assert session.tokenizer.encode(text) == Tokenizer(vocab).encode(text)


def untrained(path: Path, **changes: Any) -> ChatSession:
    chat = {"checkpoint": path, "seed": 1, "temperature": 0.0, **changes}
    return ChatSession.open(Settings.model_validate({"chat": chat, "runtime": {"device": "cpu"}}))


@pytest.fixture
def parrot(tmp_path: Path) -> Path:
    """A model that likes one character best, whatever it has read."""
    vocab = build_vocab([QAPair("几", "鹦鹉学舌")])
    config = GPTConfig(vocab_size=vocab.size, n_layer=1, n_head=1, n_embd=8, block_size=64)
    torch.manual_seed(0)
    model = GPT(config)
    favourite = model.transformer.wte.weight[vocab.ids["鹦"]].detach()
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.copy_(favourite * 2 / favourite.square().sum())
    info = CheckpointInfo(step=1, epoch=1, max_length=64)
    save_checkpoint(tmp_path / "m.safetensors", model, vocab, info)
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, {"loop"}),
        ({"max_new_tokens": 12}, {"loop"}),
        ({"max_new_tokens": 11}, {"length"}),
        ({"temperature": 0.4}, {"loop", "stop"}),
    ],
)
def test_an_answer_that_only_repeats_itself_is_cut_where_the_loop_shows(
    parrot: Path, changes: dict[str, Any], reasons: set[str]
) -> None:
    questions = ["几"] * 40
    free = untrained(parrot, loop_guard=False, **changes).ask_many(questions)
    guarded = untrained(parrot, **changes).ask_many(questions)
    for whole, cut in zip(free, guarded, strict=True):
        prefixes = (whole.text[:end] for end in range(1, len(whole.text) + 1))
        looped = next((prefix for prefix in prefixes if is_loop(prefix)), None)
        expected = (whole.text, whole.stop_reason) if looped is None else (looped, "loop")
        assert (cut.text, cut.stop_reason) == expected
    assert {answer.stop_reason for answer in guarded} >= reasons


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_loops_are_cut_alike_in_a_stream_and_in_a_batch(parrot: Path, temperature: float) -> None:
    alone, together = (untrained(parrot, temperature=temperature) for _ in range(2))
    streamed = [plain(asked(alone, "几")) for _ in range(20)]
    assert [plain(answer) for answer in together.ask_many(["几"] * 20)] == streamed


def test_marks_are_said_with_their_letters(tmp_path: Path) -> None:
    letters = "ab\u0301\ufe0f"
    vocab = build_vocab([QAPair(letters, letters)])
    config = GPTConfig(vocab_size=vocab.size, n_layer=1, n_head=1, n_embd=8, block_size=64)
    info = CheckpointInfo(step=1, epoch=1, max_length=64)
    save_checkpoint(tmp_path / "m.safetensors", GPT(config), vocab, info)
    session = untrained(tmp_path / "m.safetensors", temperature=9.0, top_k=0, loop_guard=False)
    for _ in range(10):
        pieces = list(session.ask("a"))
        assert "".join(pieces) == session.last.text
        assert not any(extends(piece[0]) for piece in pieces[1:])
        assert session.last.tokens == len(session.last.text)


def test_an_answer_knows_how_fast_it_came(finished: Finished) -> None:
    session = open_chat(finished, seed=0, temperature=2.0)
    for question in QUESTIONS:
        answer = asked(session, question)
        assert answer.tokens_per_s == pytest.approx(answer.tokens / answer.seconds)
        assert (answer.seconds_to_first is None) == (answer.tokens == 0)
        assert (answer.seconds_to_first or 0) <= answer.seconds
    together = session.ask_many(QUESTIONS)
    tokens = sum(answer.tokens for answer in together)
    for answer in together:
        assert answer.seconds_to_first is None
        assert answer.tokens_per_s == pytest.approx(tokens / answer.seconds)


def test_settings_can_change_between_answers(finished: Finished) -> None:
    session = open_chat(finished, seed=5, temperature=2.0)
    asked(session, QUESTIONS[0])
    session.configure(session.settings.model_copy(update={"temperature": 0.5}))
    changed = asked(session, QUESTIONS[0])
    assert plain(changed) == plain(
        asked(open_chat(finished, seed=6, temperature=0.5), QUESTIONS[0])
    )


def test_seeds_go_on_unless_they_are_to_begin_anew(finished: Finished) -> None:
    session = open_chat(finished, seed=5)
    asked(session, QUESTIONS[0])
    session.configure(session.settings)
    assert session.next_seed == 6
    session.configure(session.settings.model_copy(update={"seed": 40}), reseed=True)
    assert (session.next_seed, asked(session, QUESTIONS[0]).seed) == (40, 40)


@pytest.mark.parametrize(
    ("changes", "greedy"),
    [({"temperature": 0.0}, True), ({"top_k": 1}, True), ({"temperature": 0.1}, False)],
)
def test_greedy_sessions_know_that_they_are(
    finished: Finished, changes: dict[str, Any], greedy: bool
) -> None:
    assert open_chat(finished, **changes).is_greedy is greedy


def test_a_model_of_no_numbers_is_a_checkpoint_error(finished: Finished) -> None:
    session = open_chat(finished)
    with torch.no_grad():
        session.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="damaged"):
        list(session.ask(QUESTIONS[0]))
    with pytest.raises(CheckpointError, match="damaged"):
        session.ask_many(QUESTIONS)


def test_an_answer_needs_no_compiler(checkpoint_path: Path) -> None:
    # Importing it takes almost as long as torch itself.
    code = (
        "import sys\n"
        "from minigpt import ChatSession, load_settings\n"
        f"given = {{'checkpoint': {str(checkpoint_path)!r}, 'max_new_tokens': 3}}\n"
        "session = ChatSession.open(load_settings({'chat': given}))\n"
        "list(session.ask('苹什么色'))\n"
        "session.ask_many(['苹什么色', '香什么'])\n"
        "sys.exit(sorted({'torch._dynamo', 'sympy'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_warmed_up_session_answers_as_a_fresh_one(finished: Finished) -> None:
    fresh, warm = open_chat(finished, seed=3), open_chat(finished, seed=3)
    warm.warm_up()
    for question in QUESTIONS:
        assert list(warm.ask(question)) == list(fresh.ask(question))
        assert warm.last.seed == fresh.last.seed
