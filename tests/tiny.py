"""Small real objects: 20 pairs, their vocabulary, and models of two layers."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from minigpt.corpus.dataset import TokenizedDataset, tokenize
from minigpt.corpus.qa import QAPair
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import Vocab, build_vocab
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT

BLOCK_SIZE = 32
FRUITS = "苹香梨桃李杏枣橙柚莓"
ANSWERS = ("红的。", "是黄色的", "绿", "很甜，也很大。", "?")


def twenty_pairs() -> list[QAPair]:
    """Questions and answers of different lengths; no question stands there twice."""
    pairs = []
    for number, fruit in enumerate(FRUITS):
        pairs.append(QAPair(f"{fruit}什么色", ANSWERS[number % len(ANSWERS)]))
        pairs.append(QAPair(f"{fruit}{fruit}好吃吗？" + "啊" * (number % 4), f"{fruit}好吃"))
    return pairs


def tiny_vocab() -> Vocab:
    return build_vocab(twenty_pairs())


def tiny_set() -> TokenizedDataset:
    return tokenize(twenty_pairs(), Tokenizer(tiny_vocab()))


def tiny_model(*, seed: int = 0, n_embd: int = 32, dropout: float = 0.0) -> GPT:
    """Two layers over the tiny vocabulary, with weights large enough for distinct answers."""
    config = GPTConfig(
        vocab_size=tiny_vocab().size,
        block_size=BLOCK_SIZE,
        n_layer=2,
        n_head=2,
        n_embd=n_embd,
        dropout=dropout,
    )
    torch.manual_seed(seed)
    return GPT(config)


def sharpen(model: GPT) -> GPT:
    """Scale the weights up, so that attention and logits are far from uniform."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6)
    return model.eval()


def random_ids(*shape: int, vocab_size: int, seed: int = 0) -> Tensor:
    """Ids of text: no special tokens."""
    return torch.randint(3, vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def assert_same_weights(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert found.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert different == []


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can grow over `size` bytes: what a full disk looks like to a writer."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
