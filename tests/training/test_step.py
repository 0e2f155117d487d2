import dataclasses
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.examples import CPU, train_settings, trainer_of


class CopiesOf(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """Counts how often tensors of one shape are copied to bfloat16."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.shape = shape
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") is torch.bfloat16:
            self.count += args[0].shape == self.shape
        return func(*args, **kwargs)


def test_forward_passes_of_one_step_share_the_copies_of_the_weights() -> None:
    runtime = dataclasses.replace(CPU, dtype=torch.bfloat16)
    trainer = trainer_of(train_settings(micro_batch_tokens=1), runtime=runtime)
    blocks = trainer.model.transformer.blocks
    weight = blocks[0].get_parameter("mlp.c_fc.weight")
    with CopiesOf(weight.shape) as copies:
        for rows in trainer.step.batches(1)[:2]:
            trainer.train_step(rows)
    assert copies.count == 2 * len(blocks)
