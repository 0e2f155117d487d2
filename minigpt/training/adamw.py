"""AdamW, all parameters of a group in one kernel."""

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from minigpt.training.base_optimizer import Optimizer

BETAS = (0.9, 0.95)  # Brown et al. 2020, "Language Models are Few-Shot Learners", appendix B
EPS = 1e-8  # torch.optim.AdamW's


class AdamW(Optimizer):
    """Groups have `params`, `lr`, a number or a tensor on the device, and `weight_decay`."""

    KINDS = ("exp_avg", "exp_avg_sq", "step")

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            kept = [self._kept(parameter) for parameter in parameters]
            means, squares, steps = ([each[kind] for each in kept] for kind in self.KINDS)
            adamw(
                parameters,
                [parameter.grad for parameter in parameters],
                means,
                squares,
                [],
                steps,
                fused=True,
                found_inf=self.found_inf,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=EPS,
                maximize=False,
            )

    def _kept(self, parameter: Tensor) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            }
        return self.state[parameter]
