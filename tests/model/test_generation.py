from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minigpt.corpus.vocab import PAD_ID, SEP_ID
from minigpt.model.generation import Completion, complete, generate, stream
from minigpt.model.sampling import Sampler, draw_uniforms
from tests.tiny import BLOCK_SIZE, random_ids, sharpen, tiny_model

MODEL = sharpen(tiny_model())
V = MODEL.config.vocab_size
GREEDY = Sampler(temperature=0)
SAMPLERS = [
    pytest.param(GREEDY, id="greedy"),
    pytest.param(Sampler(), id="sampled"),
    pytest.param(Sampler(0.9, 12, 0.95, 1.3), id="top-k, top-p, penalty"),
]
PROMPTS = [random_ids(2 + i % 4, vocab_size=V, seed=i).tolist() for i in range(14)]
SEEDS = [100 + i for i in range(len(PROMPTS))]


def without_cache(prompt: list[int], *, sampler: Sampler, new: int, seed: int) -> list[int]:
    """The answer, with every token computed from the whole text before it."""
    ids, uniforms = torch.tensor([prompt]), draw_uniforms(seed, new)
    seen = torch.zeros(1, V, dtype=torch.bool)
    for step in range(new):
        with torch.no_grad():
            logits = MODEL(ids)[:, -1]
        chosen = sampler.choose(logits, uniforms[step : step + 1], seen=seen)
        seen[0, chosen] = True
        ids = torch.cat([ids, chosen[:, None]], dim=1)
    return ids[0, len(prompt) :].tolist()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_cached_generation_equals_plain_generation(sampler: Sampler) -> None:
    for prompt, seed in zip(PROMPTS, SEEDS, strict=True):
        found = generate(
            MODEL, torch.tensor([prompt]), sampler=sampler, max_new_tokens=20, seeds=[seed]
        )
        expected = without_cache(prompt, sampler=sampler, new=20, seed=seed)
        assert found[0].tolist() == prompt + expected


def one_by_one(sampler: Sampler, stop: int) -> dict[int, Completion]:
    answers = {}
    for index, prompt in enumerate(PROMPTS):
        new = stream(
            MODEL,
            torch.tensor([prompt]),
            sampler=sampler,
            max_new_tokens=15,
            stop_token_ids=[stop],
            seeds=[SEEDS[index]],
        )
        ids = [int(token) for token in new]
        stopped = ids[-1] == stop
        answers[index] = Completion(tuple(ids[:-1] if stopped else ids), stopped)
    return answers


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_batched_answers_equal_those_one_by_one(sampler: Sampler, batch_size: int) -> None:
    longest = [ids for ids in (c.ids for c in one_by_one(sampler, SEP_ID).values()) if len(ids) > 4]
    stop = longest[0][3]  # some token that ends some answers early, at different steps
    expected = one_by_one(sampler, stop)
    found = dict(
        complete(
            MODEL,
            PROMPTS,
            sampler=sampler,
            max_new_tokens=15,
            stop_token_id=stop,
            seeds=SEEDS,
            batch_size=batch_size,
        )
    )
    assert found == expected
    assert {answer.stopped for answer in found.values()} == {True, False}


def test_every_prompt_is_answered_once() -> None:
    done = [
        index
        for index, _ in complete(
            MODEL, PROMPTS, sampler=GREEDY, max_new_tokens=3, stop_token_id=SEP_ID, batch_size=2
        )
    ]
    assert sorted(done) == list(range(len(PROMPTS)))


@pytest.mark.parametrize("length", [10, 11])
def test_a_prompt_that_fills_the_context_is_refused_beside_others_too(length: int) -> None:
    full = random_ids(length, vocab_size=V).tolist()
    answers = complete(
        MODEL,
        [PROMPTS[0], full],
        sampler=GREEDY,
        max_new_tokens=5,
        stop_token_id=SEP_ID,
        context_length=10,
    )
    with pytest.raises(ValueError, match=f"a prompt of {length} tokens leaves no room"):
        next(answers)


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_answer_is_halted_where_the_caller_says_so(sampler: Sampler, batch_size: int) -> None:
    free = one_by_one(sampler, SEP_ID)

    def third_is_even(ids: Sequence[int]) -> bool:
        return len(ids) == 3 and ids[-1] % 2 == 0

    found = dict(
        complete(
            MODEL,
            PROMPTS,
            sampler=sampler,
            max_new_tokens=15,
            stop_token_id=SEP_ID,
            seeds=SEEDS,
            batch_size=batch_size,
            halt=third_is_even,
        )
    )

    for index, answer in free.items():
        cut = len(answer.ids) >= 3 and answer.ids[2] % 2 == 0
        expected = Completion(answer.ids[:3], stopped=False, halted=True) if cut else answer
        assert found[index] == expected
    assert {answer.halted for answer in found.values()} == {True, False}


@pytest.mark.parametrize("sampler", SAMPLERS[1:])
def test_same_seed_same_answer(sampler: Sampler) -> None:
    prompts = torch.tensor([PROMPTS[0]] * 6)
    same, again, others = (
        generate(MODEL, prompts, sampler=sampler, max_new_tokens=12, seeds=seeds)
        for seeds in ([5] * 6, [5] * 6, range(6))
    )
    assert torch.equal(same, again)
    assert len({tuple(row) for row in same.tolist()}) == 1
    assert len({tuple(row) for row in others.tolist()}) > 1


def test_an_answer_does_not_depend_on_how_long_it_may_become() -> None:
    prompt = torch.tensor([PROMPTS[0]])
    long = generate(MODEL, prompt, sampler=Sampler(), max_new_tokens=24, seeds=[1])
    short = generate(MODEL, prompt, sampler=Sampler(), max_new_tokens=5, seeds=[1])
    assert torch.equal(long[:, : short.shape[1]], short)


def test_generate_returns_prompts_and_answers_of_one_length() -> None:
    prompts = random_ids(3, 4, vocab_size=V)
    whole = generate(MODEL, prompts, sampler=GREEDY, max_new_tokens=7)
    assert whole.shape == (3, 11)
    assert whole.dtype is torch.int64
    assert torch.equal(whole[:, :4], prompts)


def first_steps(prompts: Tensor, **options: Any) -> Tensor:
    return generate(MODEL, prompts, sampler=Sampler(), **options)[:, prompts.shape[1] :]


def test_finished_rows_repeat_their_stop_token() -> None:
    prompts = random_ids(6, 4, vocab_size=V)
    free = first_steps(prompts, max_new_tokens=12, seeds=range(6))
    stops = {int(free[0, 2]), int(free[1, 5])}

    found = first_steps(prompts, max_new_tokens=12, seeds=range(6), stop_token_ids=sorted(stops))

    for row, before in zip(found.tolist(), free.tolist(), strict=True):
        end = next((i for i, token in enumerate(before) if token in stops), len(before) - 1)
        assert row == (before[: end + 1] + [before[end]] * len(row))[: len(row)]


def test_generation_ends_when_all_rows_have_stopped() -> None:
    prompt = torch.tensor([PROMPTS[0]])
    free = generate(MODEL, prompt, sampler=GREEDY, max_new_tokens=12)[0, prompt.shape[1] :]
    stop = int(free[4])
    stopped = generate(MODEL, prompt, sampler=GREEDY, max_new_tokens=12, stop_token_ids=[stop])
    end = free.tolist().index(stop)
    assert stopped[0, prompt.shape[1] :].tolist() == free[: end + 1].tolist()


@pytest.mark.parametrize("context_length", [None, 10, 1_000])
def test_generation_ends_at_the_context_length(context_length: int | None) -> None:
    whole = generate(
        MODEL,
        random_ids(2, 4, vocab_size=V),
        sampler=GREEDY,
        max_new_tokens=1_000,
        context_length=context_length,
    )
    assert whole.shape[1] == min(context_length or BLOCK_SIZE, BLOCK_SIZE)


@pytest.mark.parametrize(("length", "limit"), [(BLOCK_SIZE, None), (8, 8), (9, 8)])
def test_prompt_without_room_for_an_answer_is_refused(length: int, limit: int | None) -> None:
    with pytest.raises(ValueError, match=f"a prompt of {length} tokens leaves no room"):
        generate(
            MODEL,
            random_ids(1, length, vocab_size=V),
            sampler=GREEDY,
            max_new_tokens=5,
            context_length=limit,
        )


@pytest.mark.parametrize("seeds", [None, [1], [1, 2, 3]])
def test_sampling_needs_a_seed_for_each_row(seeds: list[int] | None) -> None:
    with pytest.raises(ValueError, match="one seed for each of the 2 rows"):
        generate(
            MODEL, random_ids(2, 4, vocab_size=V), sampler=Sampler(), max_new_tokens=1, seeds=seeds
        )


def test_stream_yields_the_tokens_that_generate_returns() -> None:
    prompts = random_ids(3, 4, vocab_size=V)
    options = {"max_new_tokens": 9, "seeds": [1, 2, 3], "stop_token_ids": [SEP_ID]}
    tokens: Iterator[Tensor] = stream(MODEL, prompts, sampler=Sampler(), **options)  # type: ignore[arg-type] # a dict of mixed values
    assert torch.equal(torch.stack(list(tokens), dim=1), first_steps(prompts, **options))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), temperature=st.floats(0.5, 3))
def test_pads_and_unknowns_are_never_said(seed: int, temperature: float) -> None:
    prompts = random_ids(4, 3, vocab_size=V, seed=seed % 1_000)
    whole = generate(
        MODEL,
        prompts,
        sampler=Sampler(temperature=temperature),
        max_new_tokens=20,
        seeds=[seed % 2**40 + i for i in range(4)],
    )
    assert int(whole.min()) >= SEP_ID > PAD_ID


def test_penalty_counts_the_answer_and_not_the_prompt() -> None:
    model = sharpen(tiny_model(seed=3))
    prompt = random_ids(1, 5, vocab_size=V)
    plain = generate(model, prompt, sampler=GREEDY, max_new_tokens=1)
    strongest = Sampler(temperature=0, repetition_penalty=10)
    everything_asked = torch.cat([prompt, plain[:, -1:]], dim=1)
    with torch.no_grad():
        likeliest = model(everything_asked)[:, -1].clone()
    likeliest[:, :2] = float("-inf")
    found = generate(model, everything_asked, sampler=strongest, max_new_tokens=1)
    assert found[0, -1] == likeliest.argmax()


def test_sampling_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    generate(MODEL, random_ids(1, 4, vocab_size=V), sampler=Sampler(), max_new_tokens=3, seeds=[1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_gpu_gives_the_greedy_answers_of_the_cpu() -> None:
    options: dict[str, Any] = {"sampler": GREEDY, "max_new_tokens": 15, "stop_token_id": SEP_ID}
    expected = dict(complete(MODEL, PROMPTS, **options))
    on_gpu = sharpen(tiny_model()).to("cuda")
    assert dict(complete(on_gpu, PROMPTS, **options)) == expected
