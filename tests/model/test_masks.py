import pytest
import torch
from torch import Tensor

from minigpt.model.masks import TILE, document_mask, documents
from tests.tiny import random_ids, sharpen, tiny_model


def starts_of(lengths: list[int]) -> Tensor:
    """[N] where documents of these lengths begin; what is left of N stands alone."""
    ends = torch.tensor(lengths).cumsum(0)
    places = torch.arange(-(-int(ends[-1]) // TILE) * TILE)
    which = torch.searchsorted(ends, places, right=True)
    begins = torch.cat([torch.zeros(1, dtype=torch.int64), ends])
    return torch.where(which < len(lengths), begins[which], places)


EACH_PACKING = pytest.mark.parametrize(
    "lengths", [[5], [128], [60, 70, 126], [3] * 100, [100, 140, 9, 300, 2], [500, 1, 11]]
)


@EACH_PACKING
def test_a_token_sees_itself_and_what_is_before_it_in_its_document(lengths: list[int]) -> None:
    starts = starts_of(lengths)
    mask = document_mask(starts[None])
    assert isinstance(mask, Tensor)
    for place in range(0, len(starts), 7):
        seen = mask[0, 0, place].nonzero().flatten().tolist()
        assert seen == list(range(int(starts[place]), place + 1))


@EACH_PACKING
def test_documents_say_where_the_one_of_each_token_begins_and_ends(lengths: list[int]) -> None:
    starts = starts_of(lengths)
    found = documents(starts)
    for place in range(0, len(starts), 7):
        inside = (starts == starts[place]).nonzero().flatten().tolist()
        assert [*range(int(found.starts[place]), int(found.ends[place]))] == inside


@pytest.mark.parametrize("n_embd", [32, 48])
def test_padded_logits_are_the_logits_and_so_are_their_gradients(n_embd: int) -> None:
    model = sharpen(tiny_model(n_embd=n_embd))
    hidden = model.hidden_states(random_ids(2, 9, vocab_size=model.config.vocab_size))
    found, expected = model.padded_logits(hidden), model.lm_head(hidden)
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((logits * direction).sum(), list(model.parameters()), retain_graph=True)
        for logits in (found, expected)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
