"""From logits to the next id: the one place where answers are drawn."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.errors import CheckpointError

NEVER = (0, 1)  # <pad> and <unk>: places of the vocabulary that are no text


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen.

    Attributes:
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Draw only among this many likeliest tokens; 0 is off.
        top_p: Draw only among the likeliest tokens that together reach this probability; 1 is off.
        repetition_penalty: Makes tokens that the answer already holds less likely; 1 is off.
        banned_ids: Tokens that are never chosen.

    Example:
        >>> import torch
        >>> from minigpt import Sampler
        >>> logits = torch.tensor([[9.0, 9.0, 0.0, 2.0, 1.0]])
        >>> sampler = Sampler(temperature=0.5, top_k=2)
        >>> sampler.scores(logits).softmax(-1).round(decimals=4).tolist()  # never <pad>, <unk>
        [[0.0, 0.0, 0.0, 0.8808, 0.1192]]
        >>> sampler.choose(logits, torch.tensor([0.5])).tolist()
        [3]
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    banned_ids: tuple[int, ...] = NEVER

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature and top_k must be >= 0 and top_p in (0, 1]")
        if self.repetition_penalty < 1:
            raise ValueError("repetition_penalty must be >= 1")

    @functools.cached_property
    def _banned_spans(self) -> list[tuple[int, int]]:
        """The banned tokens as slices: one operation for neighbours."""
        spans: list[tuple[int, int]] = []
        for token in sorted(set(self.banned_ids)):
            if spans and spans[-1][1] == token:
                spans[-1] = (spans[-1][0], token + 1)
            else:
                spans.append((token, token + 1))
        return spans

    def scores(self, logits: Tensor, *, seen: Tensor | None = None) -> Tensor:
        """The logits after penalty, temperature and cut-offs; tokens that are out have -inf.

        Args:
            logits: [B, V].
            seen: [B, V] boolean, True where the answer already holds the token.

        Returns:
            [B, V] float64 (float32 on a device without it).
        """
        scores, ids = self._candidates(logits, seen)
        if ids is None:
            return scores
        return torch.full(
            logits.shape, float("-inf"), dtype=scores.dtype, device=logits.device
        ).scatter(1, ids, scores)

    def choose(self, logits: Tensor, uniforms: Tensor, *, seen: Tensor | None = None) -> Tensor:
        """Choose one token per row.

        The choice is a pure function of its arguments, so a seeded answer does not depend on
        which path (cached, batched, another device's generator) computed the logits.

        Args:
            logits: [B, V].
            uniforms: [B] numbers in [0, 1), one per row; unused at temperature 0.
            seen: As in `scores`.

        Returns:
            [B] int64.

        Raises:
            CheckpointError: The logits hold no numbers to choose by: the weights are damaged.
        """
        chosen = self.draw(logits, uniforms, seen=seen)
        check_chosen(chosen.tolist())
        return chosen

    def draw(self, logits: Tensor, uniforms: Tensor, *, seen: Tensor | None = None) -> Tensor:
        """As `choose`, without waiting for the device: -1 where `choose` would raise."""
        scores, ids = self._candidates(logits, seen)
        if self.temperature == 0:
            highest, likeliest = scores.max(-1)  # of a row with NaN the highest is NaN
            return torch.where(highest.isfinite(), likeliest, -1)
        cumulative = scores.softmax(-1).cumsum(-1)
        total = cumulative[:, -1:]  # NaN, if any score is no number
        point = uniforms[:, None] * total * (1 - torch.finfo(total.dtype).eps)  # below the total
        place = torch.searchsorted(cumulative, point, right=True)
        if ids is not None:
            place = ids.gather(1, place.clamp(max=ids.shape[1] - 1))
        return torch.where(total.isnan(), -1, place)[:, 0]

    def _candidates(self, logits: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The scores of the tokens that may be chosen, and their ids; None when all are there."""
        precise = torch.float32 if logits.device.type == "mps" else torch.float64
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
        for first, end in self._banned_spans:
            scores[:, first:end] = float("-inf")
        if seen is not None and self.repetition_penalty > 1:
            # Keskar et al. 2019, "CTRL", section 4.1; negative scores are multiplied instead.
            factor = self.repetition_penalty
            penalised = torch.where(scores > 0, scores / factor, scores * factor)
            scores = torch.where(seen, penalised, scores)
        if self.temperature == 0:
            return scores, None
        ids = None
        if 0 < self.top_k < scores.shape[1]:
            # In the order of the vocabulary: two tokens that change places by rounding, as another
            # way to compute the logits may bring about, then change nothing.
            ids = scores.topk(self.top_k, sorted=False).indices.sort().values
            scores = scores.gather(1, ids)
        scores = scores.to(precise)
        scores -= scores.amax(-1, keepdim=True)  # a tiny temperature must not give inf - inf
        scores /= self.temperature
        if self.top_p < 1:
            ordered, order = scores.softmax(-1).sort(descending=True)
            out = ordered.cumsum(-1) - ordered >= self.top_p  # what the likelier ones already reach
            scores.masked_fill_(torch.zeros_like(out).scatter(1, order, out), float("-inf"))
        return scores, ids


def check_chosen(ids: Sequence[int]) -> None:
    """Refuse what `Sampler.draw` gives for logits that hold no numbers to choose by.

    Raises:
        CheckpointError: One of the ids is negative: the weights are damaged.
    """
    if min(ids) < 0:
        raise damaged("the next token")


def damaged(what: str) -> CheckpointError:
    """The error for a model that has no number for something."""
    return CheckpointError(
        f"the model gives no number (NaN or infinity) for {what}: it is damaged",
        hint="use another checkpoint of the run, or train again",
    )


def draw_uniforms(seed: int, steps: int) -> Tensor:
    """[steps] numbers in [0, 1) as float64 on the CPU: the same for a seed on every machine."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, generator=generator, dtype=torch.float64)
