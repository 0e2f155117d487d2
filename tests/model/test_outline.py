from math import prod

from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.model.outline import Part, outline
from tests.tiny import tiny_model

TUTORIAL = GPTConfig(vocab_size=4_825)


def found(part: Part, *path: str) -> Part:
    for name in path:
        (part,) = (each for each in part.parts if each.name == name)
    return part


def state_dict_names(part: Part, prefix: str = "") -> set[str]:
    """The names that the weights have in the state dict, of every one of several alike parts."""
    names = {f"{prefix}{weight.name}" for weight in part.weights}
    for each in part.parts:
        first, _, last = each.name.partition("-")
        rows = range(int(first), int(last) + 1) if last else [each.name]
        for row in rows:
            names |= state_dict_names(each, f"{prefix}{row}.")
    return names


def test_the_outline_names_every_weight_of_the_model() -> None:
    model = tiny_model()
    assert state_dict_names(outline(model.config)) == set(model.state_dict())


def test_each_part_counts_what_its_module_has() -> None:
    model = GPT(GPTConfig(vocab_size=50, n_layer=3, n_head=2, n_embd=8))
    whole = outline(model.config)
    assert whole.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert whole.parameters == model.config.parameters
    transformer = found(whole, "transformer")
    assert transformer.parameters == whole.parameters  # the output layer adds none
    for name in ("wte", "wpe", "blocks", "ln_f"):
        module = model.transformer.get_submodule(name)
        expected = sum(parameter.numel() for parameter in module.parameters())
        assert found(transformer, name).parameters == expected, name


def test_the_parts_add_up_to_the_tutorials_46_403_328() -> None:
    transformer = found(outline(TUTORIAL), "transformer")
    parts = {part.name: part.parameters for part in transformer.parts}
    assert parts == {"wte": 3_705_600, "wpe": 196_608, "blocks": 42_499_584, "ln_f": 1_536}
    assert sum(parts.values()) == 46_403_328


def test_alike_blocks_stand_there_once() -> None:
    (block,) = found(outline(TUTORIAL), "transformer", "blocks").parts
    assert (block.name, block.kind, block.alike) == ("0-5", "Block", 6)
    assert block.parameters == 6 * 7_083_264
    assert sum(part.parameters for part in block.parts) == 7_083_264
    (alone,) = found(
        outline(GPTConfig(vocab_size=9, n_layer=1, n_head=1, n_embd=4)), "transformer", "blocks"
    ).parts
    assert (alone.name, alone.alike) == ("0", 1)


def test_norms_of_one_block_stay_apart() -> None:
    (block,) = found(outline(TUTORIAL), "transformer", "blocks").parts
    assert [part.name for part in block.parts] == ["ln_1", "attn", "ln_2", "mlp"]


def test_the_output_layer_shares_the_embedding() -> None:
    whole = outline(TUTORIAL)
    (weight,) = found(whole, "lm_head").weights
    assert (weight.shape, weight.shared_with) == ((4_825, 768), "wte")
    assert found(whole, "lm_head").parameters == 0


def test_shapes_multiply_to_the_parameters() -> None:
    (block,) = found(outline(TUTORIAL), "transformer", "blocks").parts
    projection = found(block, "attn", "qkv_proj")
    assert [(weight.name, weight.shape) for weight in projection.weights] == [
        ("weight", (2_304, 768)),
        ("bias", (2_304,)),
    ]
    assert projection.parameters == sum(prod(weight.shape) for weight in projection.weights)
