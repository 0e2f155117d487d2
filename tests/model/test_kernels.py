import pytest
import torch

from minigpt.model.config import GPTConfig
from minigpt.model.decoder import Decoder
from minigpt.model.gpt import GPT
from minigpt.model.runtime import runs_kernels
from minigpt.model.sampling import Sampler
from tests.tiny import random_ids, sharpen

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize(("n_embd", "n_head"), [(48, 2), (96, 1), (768, 8)])
@pytest.mark.parametrize("rows", [1, 3])
@torch.inference_mode()
def test_our_kernels_give_the_logits_of_the_plain_step(
    rows: int, n_embd: int, n_head: int, dtype: torch.dtype, bound: float
) -> None:
    assert runs_kernels(torch.device("cuda"))
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=777, n_layer=2, n_head=n_head, n_embd=n_embd, block_size=80)
    model = sharpen(GPT(config)).to("cuda", dtype)
    prompts = [random_ids(3 + 30 * i, vocab_size=777, seed=i).tolist() for i in range(rows)]
    logits = []
    for recorded in (False, True):
        decoder = Decoder(model, rows=rows, capacity=80, sampler=Sampler(temperature=0))
        if recorded:
            decoder.record()
        decoder.admit(range(rows), prompts, seeds=None, steps=9)
        ids = torch.full((rows,), 5, device="cuda")
        step = decoder._newest
        assert (step._row is not None) == (recorded and rows == 1)
        logits.append(step(ids, decoder._positions, width=80, even=False))
    plain, ours = logits
    assert (ours - plain).abs().max() < bound * plain.abs().max()
