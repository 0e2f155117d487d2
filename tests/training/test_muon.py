import math

import pytest
import torch
from torch import Tensor, nn

from minigpt.training.muon import COEFFICIENTS, Muon, orthogonal

SHAPES = [(48, 16), (16, 16), (64, 16), (16, 64), (16, 16), (48, 16), (16, 16)]


def matrices(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]


def through_polynomials(values: Tensor) -> Tensor:
    for a, b, c in COEFFICIENTS:
        values = a * values + b * values**3 + c * values**5
    return values


def plainly(matrix: Tensor) -> Tensor:
    """What `orthogonal` makes of one matrix, by its singular values and in float64."""
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    bound = 1.01 * values.pow(8).sum() ** 0.125
    found: Tensor = left @ torch.diag(through_polynomials(values / bound)) @ right
    return found


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_updates_are_those_of_one_matrix_at_a_time(device: str) -> None:
    ours = [nn.Parameter(m.detach().to(device)) for m in matrices(0)]
    expected = [m.detach().double() for m in matrices(0)]
    momenta = [torch.zeros_like(m) for m in expected]
    lr = 0.05 if device == "cpu" else torch.tensor(0.05, device=device)
    together = Muon(ours, lr=lr, weight_decay=0.1)
    for seed in range(1, 6):
        gradients = [m.detach() for m in matrices(seed)]
        for parameter, gradient in zip(ours, gradients, strict=True):
            parameter.grad = gradient.to(device)
        together.step()
        for number, gradient in enumerate(gradients):
            momenta[number] = momentum = 0.95 * momenta[number] + 0.05 * gradient.double()
            rows, columns = gradient.shape
            update = plainly(0.95 * momentum + 0.05 * gradient) * max(1, rows / columns) ** 0.5
            expected[number] = (1 - 0.05 * 0.1) * expected[number] - 0.05 * update
    for found, weights, momentum in zip(ours, expected, momenta, strict=True):
        torch.testing.assert_close(found.cpu().double(), weights, rtol=0.02, atol=0.01)  # bfloat16
        kept = together.state[found]["momentum_buffer"].cpu().double()
        torch.testing.assert_close(kept, momentum, rtol=1e-5, atol=1e-6)


def test_three_polynomials_bring_singular_values_near_one() -> None:
    values = through_polynomials(torch.linspace(0.0105, 1, 10_000, dtype=torch.float64))
    assert 0.68 < float(values.min()) < float(values.max()) < 1.3


@pytest.mark.parametrize("smallest", [1.0, 0.1, 0.01])
def test_one_large_singular_value_does_not_leave_the_others_behind(smallest: float) -> None:
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(64, 64)).Q for _ in range(2))
    values = torch.full((64,), smallest)
    values[0] = 1
    found = torch.linalg.svdvals(
        orthogonal((left @ torch.diag(values) @ right)[None].bfloat16()).float()
    )
    assert float(found.min()) > 0.5
    assert float(found.max()) < 1.4


@pytest.mark.parametrize("shape", [(3, 64, 16), (2, 16, 64), (1, 32, 32)])
def test_an_orthogonal_matrix_has_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape).bfloat16()).float())
    assert float(values.min()) > 0.3
    assert float(values.max()) < 1.3


def test_matrices_of_one_shape_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    several = torch.randn(3, 32, 16).bfloat16()
    alone = torch.cat([orthogonal(matrix[None]) for matrix in several])
    torch.testing.assert_close(orthogonal(several), alone)


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
