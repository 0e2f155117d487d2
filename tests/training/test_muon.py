import math

import pytest
import torch
from torch import nn

from minigpt.training.muon import COEFFICIENTS, Muon, orthogonal

SHAPES = [(48, 16), (16, 16), (64, 16), (16, 64), (16, 16), (48, 16), (16, 16)]


def matrices(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_updates_are_those_of_torch_one_matrix_at_a_time(device: str) -> None:
    ours = [nn.Parameter(m.detach().to(device)) for m in matrices(0)]
    theirs = [nn.Parameter(m.detach().clone()) for m in ours]
    lr = 0.05 if device == "cpu" else torch.tensor(0.05, device=device)
    together = Muon(ours, lr=lr, weight_decay=0.1)
    one_by_one = torch.optim.Muon(theirs, lr=0.05, weight_decay=0.1)
    for seed in range(1, 6):
        for parameter, other, gradient in zip(ours, theirs, matrices(seed), strict=True):
            parameter.grad = gradient.detach().to(device)
            other.grad = parameter.grad.clone()
        together.step()
        one_by_one.step()  # type: ignore[no-untyped-call] # torch's
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.01)  # bfloat16 in 5 steps
        state = one_by_one.state[expected]["momentum_buffer"]
        torch.testing.assert_close(together.state[found]["momentum_buffer"], state)


@pytest.mark.parametrize("shape", [(3, 64, 16), (2, 16, 64), (1, 32, 32)])
def test_an_orthogonal_matrix_has_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape).bfloat16()).float())
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3


@pytest.mark.parametrize("shape", [(64, 64), (64, 100), (64, 128), (64, 256), (256, 64)])
@pytest.mark.parametrize("decades", [0, 1, 3, 6])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.bfloat16, 0.1), (torch.float32, 1e-3)])
def test_singular_values_become_what_five_steps_in_exact_numbers_make_of_them(
    shape: tuple[int, int], decades: int, dtype: torch.dtype, rtol: float
) -> None:
    rank = min(shape)
    torch.manual_seed(decades)
    left, right = (torch.linalg.qr(torch.randn(size, rank).double()).Q for size in shape)
    values = torch.logspace(0, -decades, rank).double()
    found = orthogonal((left * values @ right.T)[None].to(dtype))[0].double()
    a, b, c = COEFFICIENTS
    expected = values / values.norm()
    for _ in range(5):
        expected = a * expected + b * expected**3 + c * expected**5
    # Rounding the matrix to bfloat16 alone turns directions a thousand times smaller than others.
    kept = values > 0.01
    torch.testing.assert_close(
        (left.T @ found @ right).diag()[kept], expected[kept], rtol=rtol, atol=0
    )
    assert float(torch.linalg.matrix_norm(found, 2)) < 1.25


@pytest.mark.parametrize("shape", [(64, 64), (64, 256)])
def test_a_matrix_of_few_directions_is_not_blown_up(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    for rank in (1, 3, 20):
        few = torch.randn(shape[0], rank) @ torch.randn(rank, shape[1])
        found = orthogonal(few[None].bfloat16()).float()
        assert 0.6 < float(torch.linalg.matrix_norm(found, 2)) < 1.25
    assert torch.equal(
        orthogonal(torch.zeros(1, *shape).bfloat16()), torch.zeros(1, *shape).bfloat16()
    )


def test_matrices_of_one_shape_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    several = torch.randn(3, 32, 16).bfloat16()
    alone = torch.cat([orthogonal(matrix[None]) for matrix in several])
    torch.testing.assert_close(orthogonal(several), alone, rtol=0.02, atol=0.002)


def test_a_matrix_without_a_gradient_stays() -> None:
    first, second = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    first.grad = torch.eye(4)
    Muon([first, second], lr=0.1, weight_decay=0.5).step()
    assert not torch.equal(first, torch.ones(4, 4))
    assert torch.equal(second, torch.ones(4, 4))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_step_that_is_left_out_changes_nothing(bad: float) -> None:
    ours = matrices(0)
    optimizer = Muon(ours, lr=0.05, weight_decay=0.1)
    for seed in (1, 2):
        for parameter, gradient in zip(ours, matrices(seed), strict=True):
            parameter.grad = gradient.detach()
        optimizer.step()
    before = [(m.detach().clone(), optimizer.state[m]["momentum_buffer"].clone()) for m in ours]

    for matrix in ours:
        matrix.grad = torch.full_like(matrix, bad)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    for matrix, (weights, buffer) in zip(ours, before, strict=True):
        assert torch.equal(matrix, weights)
        assert torch.equal(optimizer.state[matrix]["momentum_buffer"], buffer)

    for parameter, gradient in zip(ours, matrices(3), strict=True):
        parameter.grad = gradient.detach()
    optimizer.found_inf = torch.zeros(())
    optimizer.step()
    assert not any(torch.equal(m, w) for m, (w, _) in zip(ours, before, strict=True))
