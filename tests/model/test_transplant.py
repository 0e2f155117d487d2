import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minigpt.corpus.vocab import Vocab
from minigpt.errors import CheckpointError
from minigpt.model.checkpoint import Checkpoint, load_checkpoint
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.model.transplant import transplant

OTHERS = "龘麤"  # characters that the tiny vocabulary does not have


@pytest.fixture
def checkpoint(checkpoint_path: Path) -> Checkpoint:
    return load_checkpoint(checkpoint_path)


def wider(vocab: Vocab) -> Vocab:
    """The characters in another order, some new, one gone."""
    special, characters = vocab.tokens[:3], vocab.tokens[3:]
    return Vocab((*special, OTHERS[0], *reversed(characters[1:]), OTHERS[1]))


def fresh(checkpoint: Checkpoint, vocab: Vocab, **sizes: int) -> GPT:
    values = {**checkpoint.config.model_dump(), "vocab_size": vocab.size, **sizes}
    return GPT(GPTConfig(**values)).eval()


def logits(model: GPT, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        scores: Tensor = model(torch.tensor([ids]))[0]
    return scores


def test_with_the_same_characters_nothing_changes(checkpoint: Checkpoint) -> None:
    model = fresh(checkpoint, checkpoint.vocab)
    assert transplant(checkpoint, model, checkpoint.vocab) == checkpoint.vocab.size
    ids = [3, 5, 4, 2]
    torch.testing.assert_close(logits(model, ids), logits(checkpoint.build(), ids))


@pytest.mark.parametrize("block_size", [8, 100])
def test_known_characters_mean_the_same_wherever_they_stand(
    checkpoint: Checkpoint, block_size: int
) -> None:
    then, now = checkpoint.vocab, wider(checkpoint.vocab)
    model = fresh(checkpoint, now, block_size=block_size)
    assert transplant(checkpoint, model, now) == then.size - 1
    shared = [token for token in then.tokens if token in now.ids]
    text = shared[2:9]
    found = logits(model, [now.ids[t] for t in text])[:, [now.ids[t] for t in shared]]
    old = logits(checkpoint.build(), [then.ids[t] for t in text])[:, [then.ids[t] for t in shared]]
    torch.testing.assert_close(found, old)


def test_new_characters_start_from_chance(checkpoint: Checkpoint) -> None:
    now = wider(checkpoint.vocab)
    model = fresh(checkpoint, now)
    places = [now.ids[character] for character in OTHERS]
    before = model.lm_head.weight[places].clone()
    transplant(checkpoint, model, now)
    assert torch.equal(model.lm_head.weight[places], before)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_other_sizes_are_refused_with_what_to_give(checkpoint: Checkpoint) -> None:
    model = fresh(checkpoint, checkpoint.vocab, n_layer=checkpoint.config.n_layer + 1)
    with pytest.raises(CheckpointError) as caught:
        transplant(checkpoint, model, checkpoint.vocab)
    assert f"--n-layer {checkpoint.config.n_layer} --n-head" in caught.value.hint


def test_a_named_size_is_named_in_the_hint(checkpoint: Checkpoint) -> None:
    config = GPTConfig(vocab_size=checkpoint.vocab.size, n_layer=4, n_head=4, n_embd=256)
    tiny_one = dataclasses.replace(checkpoint, config=config)
    with pytest.raises(CheckpointError) as caught:
        transplant(tiny_one, fresh(checkpoint, checkpoint.vocab), checkpoint.vocab)
    assert caught.value.hint == "give --size tiny"
