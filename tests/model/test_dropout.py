from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from minigpt.model.dropout import Dropout, dropout, hashed_dropout

EACH_FORM = pytest.mark.parametrize("dropout", [dropout, hashed_dropout])

Form = Callable[[Tensor, float], Tensor]


@EACH_FORM
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.25, 0.5])
def test_a_share_is_dropped_and_the_mean_stays(p: float, dtype: torch.dtype, dropout: Form) -> None:
    torch.manual_seed(0)
    found = dropout(torch.ones(500, 401, dtype=dtype), p)
    assert found.dtype is dtype
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(found.float().mean()) == pytest.approx(1, abs=0.01)
    assert len(set(found.flatten().tolist())) == 2


@EACH_FORM
def test_every_place_and_every_neighbour_is_dropped_by_itself(dropout: Form) -> None:
    torch.manual_seed(0)
    dropped = torch.stack([dropout(torch.ones(24), 0.5) == 0 for _ in range(2_000)]).float()
    correlation = torch.corrcoef(dropped.T) - torch.eye(24)
    assert float(dropped.mean(0).sub(0.5).abs().max()) < 0.06
    assert float(correlation.abs().max()) < 0.12


@EACH_FORM
def test_the_gradient_is_dropped_where_the_value_is(dropout: Form) -> None:
    torch.manual_seed(0)
    x = torch.randn(50, requires_grad=True)
    found = dropout(x, 0.3)
    found.sum().backward()  # type: ignore[no-untyped-call] # torch's
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), found.detach())
    assert 0 < int((x.grad == 0).sum()) < 50


@EACH_FORM
def test_a_seed_repeats_it(dropout: Form) -> None:
    torch.manual_seed(3)
    first = dropout(torch.ones(100), 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(torch.ones(100), 0.5), first)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_nothing_is_dropped_in_use_or_without_a_share(p: float) -> None:
    x = torch.randn(3, 4)
    assert Dropout(p).eval()(x) is x
    assert Dropout(0.0)(x) is x
