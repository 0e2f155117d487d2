import pytest
import torch
from torch import nn

from minigpt.errors import CheckpointError
from minigpt.model.decoder import Decoder
from minigpt.model.newest import packed
from minigpt.model.sampling import Sampler
from tests.tiny import random_ids, sharpen, tiny_model

MODEL = sharpen(tiny_model())
V = MODEL.config.vocab_size
SAMPLERS = [
    pytest.param(Sampler(temperature=0), id="greedy"),
    pytest.param(Sampler(0.9, 12, 0.95, 1.3), id="top-k, top-p, penalty"),
]
PROMPTS = [random_ids(2 + 3 * i, vocab_size=V, seed=i).tolist() for i in range(4)]


def alone(prompt: list[int], *, sampler: Sampler, seed: int, steps: int = 10) -> list[int]:
    decoder = Decoder(MODEL, rows=1, capacity=len(prompt) + steps, sampler=sampler)
    return [token for (token,) in decoder.write([prompt], seeds=[seed], steps=steps)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_row_that_begins_later_gets_what_it_would_get_alone(sampler: Sampler) -> None:
    expected = [alone(prompt, sampler=sampler, seed=i) for i, prompt in enumerate(PROMPTS)]
    decoder = Decoder(MODEL, rows=3, capacity=24, sampler=sampler)
    first, second, third, fourth = PROMPTS

    begun = decoder.admit([0, 2], [first, third], seeds=[0, 2], steps=10)
    drawn = decoder.run(4)
    late = decoder.admit([1], [second], seeds=[1], steps=10)
    drawn += decoder.run(5)
    again = decoder.admit([0], [fourth], seeds=[3], steps=10)
    drawn += decoder.run(4)

    rows = list(zip(*drawn, strict=True))
    assert [begun[0], *rows[0][:9]] == expected[0]
    assert [begun[1], *rows[2][:9]] == expected[2]
    assert [late[0], *rows[1][4:]] == expected[1]
    assert [again[0], *rows[0][9:]] == expected[3][:5]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_that_are_kept_go_on_as_before(sampler: Sampler) -> None:
    expected = [alone(prompt, sampler=sampler, seed=i) for i, prompt in enumerate(PROMPTS)]
    decoder = Decoder(MODEL, rows=4, capacity=24, sampler=sampler)
    first = decoder.admit(range(4), PROMPTS, seeds=range(4), steps=10)
    before = decoder.run(3)
    decoder.keep([3, 1])
    after = decoder.run(6)
    for place, row in enumerate([3, 1]):
        tokens = [first[row], *(ids[row] for ids in before), *(ids[place] for ids in after)]
        assert tokens == expected[row]


def test_a_decoder_is_used_again_and_with_another_sampler() -> None:
    greedy, drawing = Sampler(temperature=0), Sampler(repetition_penalty=1.5)
    decoder = Decoder(MODEL, rows=1, capacity=24, sampler=greedy)
    for sampler in (greedy, drawing, greedy):
        decoder.use(sampler)
        for prompt in PROMPTS:
            new = decoder.write([prompt], seeds=[5], steps=10)
            expected = alone(prompt, sampler=sampler, seed=5)
            assert [token for (token,) in new] == expected


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_many_rows_get_what_they_would_get_without_getting_ready(sampler: Sampler) -> None:
    seeds = range(len(PROMPTS))
    expected = [alone(prompt, sampler=sampler, seed=i) for i, prompt in enumerate(PROMPTS)]
    model = sharpen(tiny_model())
    decoder = Decoder(model, rows=len(PROMPTS), capacity=24, sampler=sampler)
    decoder.record()
    drawn = decoder.write(PROMPTS, seeds=seeds, steps=10)
    assert [list(row) for row in zip(*drawn, strict=True)] == expected


@pytest.mark.skipif(not torch._C._has_mkldnn, reason="oneDNN is not there")
@pytest.mark.parametrize("bias", [True, False])
def test_packed_weights_are_multiplied_as_they_are(bias: bool) -> None:
    layer = nn.Linear(64, 48, bias=bias)
    x = torch.randn(5, 64)
    with torch.no_grad():
        product = packed(layer, rows=5)
        assert product is not layer
        torch.testing.assert_close(product(x), layer(x))


def test_weights_that_cannot_be_packed_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*given: object) -> None:
        raise RuntimeError("this processor has it not")

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", refused, raising=False)
    layer = nn.Linear(64, 48)
    assert packed(layer, rows=5) is layer
    norm = nn.LayerNorm(4)
    assert packed(norm, rows=5) is norm


def test_weights_that_are_no_numbers_are_told() -> None:
    model = tiny_model().eval()
    decoder = Decoder(model, rows=1, capacity=9, sampler=Sampler())
    assert len(decoder.admit([0], [[3, 4]], seeds=[0], steps=5)) == 1
    with torch.no_grad():
        model.transformer.wpe.weight[3:] = float("nan")
    with pytest.raises(CheckpointError, match="damaged"):
        decoder.run(5)


@pytest.mark.gpu
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("rows", [1, 3])
def test_recorded_steps_choose_as_plain_ones_and_as_the_cpu(sampler: Sampler, rows: int) -> None:
    prompts, seeds = PROMPTS[:rows], range(rows)
    expected = [alone(prompt, sampler=sampler, seed=i) for i, prompt in enumerate(prompts)]
    model = sharpen(tiny_model()).cuda()
    for recorded in (False, True):
        decoder = Decoder(model, rows=rows, capacity=24, sampler=sampler)
        if recorded:
            decoder.record()
        for _ in range(2):  # a used decoder as well as a new one
            drawn = decoder.write(prompts, seeds=seeds, steps=10)
            assert [list(row) for row in zip(*drawn, strict=True)] == expected


@pytest.mark.gpu
def test_a_recorded_decoder_takes_another_sampler() -> None:
    decoder = Decoder(sharpen(tiny_model()).cuda(), rows=1, capacity=24, sampler=Sampler())
    decoder.record()
    for sampler in (Sampler(temperature=0), Sampler(0.7, 5, 1, 1.4), Sampler(top_k=3)):
        decoder.use(sampler)
        drawn = decoder.write(PROMPTS[:1], seeds=[3], steps=10)
        assert [token for (token,) in drawn] == alone(PROMPTS[0], sampler=sampler, seed=3)
