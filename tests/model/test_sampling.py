import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minigpt.errors import CheckpointError
from minigpt.model.sampling import NEVER, Sampler, draw_uniforms

few_examples = settings(max_examples=60, deadline=None)

LOGITS = torch.tensor([[9.0, 8.0, 2.0, 1.0, 0.5, -1.0, -2.0]])  # ids 0 and 1 are banned
INF = float("-inf")


def probabilities(sampler: Sampler, logits: Tensor = LOGITS, seen: Tensor | None = None) -> Tensor:
    return sampler.scores(logits, seen=seen).softmax(-1)


def left(sampler: Sampler, logits: Tensor = LOGITS) -> list[int]:
    """The ids that can still be drawn."""
    return (sampler.scores(logits)[0] > INF).nonzero().flatten().tolist()


def test_greedy_takes_the_likeliest_allowed_token() -> None:
    chosen = Sampler(temperature=0).choose(LOGITS, torch.zeros(1))
    assert chosen.tolist() == [2]


def test_plain_sampler_follows_the_model() -> None:
    found = probabilities(Sampler())
    torch.testing.assert_close(found[0, 2:], LOGITS[0, 2:].double().softmax(-1))
    assert found[0, :2].tolist() == [0, 0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_temperature_divides_the_logits(temperature: float) -> None:
    found = probabilities(Sampler(temperature=temperature, banned_ids=()))
    torch.testing.assert_close(found, (LOGITS.double() / temperature).softmax(-1))


@pytest.mark.parametrize("temperature", [1e-9, 1e-300, 5e-324])
def test_tiny_temperature_is_greedy(temperature: float) -> None:
    sampler = Sampler(temperature=temperature)
    chosen = sampler.choose(LOGITS.expand(5, -1), torch.linspace(0, 0.999, 5))
    assert chosen.tolist() == [2] * 5


@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 7, 100])
def test_top_k_leaves_the_k_likeliest(top_k: int) -> None:
    assert left(Sampler(top_k=top_k)) == [2, 3, 4, 5, 6][:top_k]


def test_top_k_leaves_k_even_among_equals() -> None:
    assert len(left(Sampler(top_k=2), torch.zeros(1, 7))) == 2


@pytest.mark.parametrize(("top_p", "expected"), [(0.01, 1), (0.5, 1), (0.62, 2), (0.98, 4), (1, 5)])
def test_top_p_leaves_the_fewest_that_reach_it(top_p: float, expected: int) -> None:
    # 0.603, 0.222, 0.135, 0.030, 0.011 for the ids 2 to 6
    assert left(Sampler(top_p=top_p)) == [2, 3, 4, 5, 6][:expected]


@few_examples
@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=5, max_size=12),
    top_p=st.floats(0.01, 0.99),
)
def test_top_p_reaches_its_share_and_no_token_is_one_too_many(
    logits: list[float], top_p: float
) -> None:
    tensor = torch.tensor([logits])
    full = probabilities(Sampler(), tensor)[0]
    kept = full[left(Sampler(top_p=top_p), tensor)]
    assert kept.sum() >= top_p - 1e-9
    assert kept.sum() - kept.min() < top_p + 1e-9


def test_penalty_acts_on_seen_tokens_only() -> None:
    seen = torch.zeros(1, 7, dtype=torch.bool)
    seen[0, [2, 5]] = True
    scores = Sampler(repetition_penalty=2, banned_ids=()).scores(LOGITS, seen=seen)
    # Halved above zero, doubled below: less likely either way.
    assert scores[0, 2] - scores[0, 3] == pytest.approx(1.0 - 1.0)
    assert scores[0, 5] - scores[0, 3] == pytest.approx(-2.0 - 1.0)
    unseen = [0, 1, 3, 4, 6]
    shifted = scores[0, unseen] - scores[0, 3]
    torch.testing.assert_close(shifted, (LOGITS[0, unseen] - LOGITS[0, 3]).double())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_penalty_makes_a_repetition_less_likely(temperature: float) -> None:
    logits = torch.tensor([[0.0, 0.0, 1.0, 0.9, -3.0]])
    seen = torch.tensor([[False, False, True, False, True]])
    sampler = Sampler(temperature=temperature, repetition_penalty=1.5)
    before, after = probabilities(sampler, logits), probabilities(sampler, logits, seen)
    assert after[0, 2] < before[0, 2]
    assert after[0, 4] < before[0, 4]
    assert after[0].argmax() == 3


@few_examples
@given(
    logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=5, max_size=12),
    uniform=st.floats(0, 1, exclude_max=True),
    temperature=st.floats(0, 3),
    top_k=st.integers(0, 6),
    top_p=st.floats(0.01, 1),
    seen=st.integers(0, 2**12 - 1),
)
def test_banned_and_cut_off_tokens_are_never_chosen(
    logits: list[float], uniform: float, temperature: float, top_k: int, top_p: float, seen: int
) -> None:
    sampler = Sampler(temperature, top_k, top_p, repetition_penalty=1.3)
    tensor = torch.tensor([logits])
    held = torch.tensor([[bool(seen >> i & 1) for i in range(len(logits))]])
    given = tensor.clone()
    chosen = int(sampler.choose(tensor, torch.tensor([uniform]), seen=held))
    assert chosen not in NEVER
    assert 0 <= chosen < len(logits)
    assert sampler.scores(tensor, seen=held)[0, chosen] > INF
    assert torch.equal(tensor, given)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24, 1.0])
def test_extreme_uniforms_choose_possible_tokens(uniform: float) -> None:
    logits = torch.tensor([[INF, 1.0, 2.0, INF, 3.0, INF]])
    chosen = Sampler(banned_ids=(0,)).choose(logits, torch.tensor([uniform]))
    assert chosen.tolist() == [1 if uniform == 0 else 4]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampler", [Sampler(temperature=0), Sampler(), Sampler(0.8, 3, 0.9)])
def test_logits_that_are_no_numbers_are_refused(sampler: Sampler, bad: float) -> None:
    logits = LOGITS.repeat(3, 1)
    logits[1, 4] = bad
    with pytest.raises(CheckpointError, match="damaged"):
        sampler.choose(logits, torch.full((3,), 0.5))


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(),
        Sampler(temperature=0.7),
        Sampler(temperature=1.5, top_k=4),
        Sampler(top_p=0.9),
        Sampler(temperature=2, top_k=4, top_p=0.95, repetition_penalty=1.5),
    ],
)
def test_draws_follow_the_probabilities(sampler: Sampler) -> None:
    draws = 20_000
    seen = torch.zeros(1, 7, dtype=torch.bool)
    seen[0, 3] = True
    expected = probabilities(sampler, seen=seen)[0] * draws

    uniforms = draw_uniforms(0, draws)
    chosen = sampler.choose(LOGITS.expand(draws, -1), uniforms, seen=seen.expand(draws, -1))
    counts = chosen.bincount(minlength=7).double()

    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_squared = ((counts - expected).square() / expected)[possible].sum()
    assert chi_squared < 18.47  # the 0.999 quantile of 4 degrees of freedom, the most there are


def test_rows_are_chosen_independently() -> None:
    torch.manual_seed(0)
    logits, uniforms = torch.randn(8, 30), torch.rand(8)
    sampler = Sampler(top_k=10, top_p=0.9)
    together = sampler.choose(logits, uniforms)
    apart = [sampler.choose(logits[i : i + 1], uniforms[i : i + 1]) for i in range(8)]
    assert together.tolist() == torch.cat(apart).tolist()


def test_a_seed_gives_the_same_numbers_however_many_are_drawn() -> None:
    long = draw_uniforms(7, 200)
    for steps in (1, 7, 15, 16, 17, 64):
        assert torch.equal(draw_uniforms(7, steps), long[:steps])
    assert not torch.equal(draw_uniforms(8, 200), long)
    assert long.dtype is torch.float64
    assert bool(((long >= 0) & (long < 1)).all())


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"repetition_penalty": 0.9},
    ],
)
def test_senseless_wishes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sampler(**wrong)  # type: ignore[arg-type] # top_k is an int, mypy sees floats


@pytest.mark.gpu
def test_gpu_chooses_as_the_cpu() -> None:
    torch.manual_seed(0)
    logits, uniforms = torch.randn(64, 200), torch.rand(64)
    sampler = Sampler(temperature=0.8, top_k=20, top_p=0.9)
    found = sampler.choose(logits.cuda(), uniforms.cuda())
    assert found.tolist() == sampler.choose(logits, uniforms).tolist()
