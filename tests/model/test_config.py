import pytest
import torch
from pydantic import ValidationError

from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.settings import SIZES, ModelSettings


def test_the_tutorials_model_has_46_403_328_parameters() -> None:
    assert GPTConfig(vocab_size=4_825).parameters == 46_403_328


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_those_of_the_model(size: str) -> None:
    settings = ModelSettings.model_validate({"size": size})
    config = GPTConfig.from_settings(settings, vocab_size=100)
    with torch.device("meta"):
        model = GPT(config)
    assert config.parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("size", "shape"), SIZES.items())
def test_size_names_layers_heads_and_width(size: str, shape: tuple[int, int, int]) -> None:
    settings = ModelSettings.model_validate({"size": size, "block_size": 77, "dropout": 0.3})
    config = GPTConfig.from_settings(settings, vocab_size=100)
    assert (config.n_layer, config.n_head, config.n_embd) == shape
    assert (config.vocab_size, config.block_size, config.dropout) == (100, 77, 0.3)


def test_key_beside_the_size_wins() -> None:
    settings = ModelSettings(size="tiny", n_layer=2, n_head=3, n_embd=48)
    config = GPTConfig.from_settings(settings, vocab_size=100)
    assert (config.n_layer, config.n_head, config.n_embd, config.head_size) == (2, 3, 48, 16)


def test_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match="n_embd 32 is not a multiple of n_head 3"):
        GPTConfig(vocab_size=100, n_embd=32, n_head=3)


@pytest.mark.parametrize(
    "wrong", [{"vocab_size": 3}, {"n_layer": 0}, {"n_embd": 1 << 40}, {"dropout": 1}, {"extra": 1}]
)
def test_impossible_sizes_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        GPTConfig.model_validate({"vocab_size": 100, **wrong})
