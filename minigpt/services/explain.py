"""How likely each character of an answer was, and what the model held likely in its place."""

from dataclasses import dataclass

import torch

from minigpt.corpus.vocab import SEP_ID
from minigpt.model.sampling import NEVER
from minigpt.services.chat import Answer, ChatSession

END = ""
"""Stands for the end of an answer, which is a choice like any other."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One place of an answer.

    Attributes:
        said: The character that stands there, or `END`.
        chance: Its probability under the model alone: at temperature 1, before any cut-off, given
            the question and what was said before it.
        others: The likeliest other characters with their probabilities, the likeliest first.
    """

    said: str
    chance: float
    others: tuple[tuple[str, float], ...]

    @property
    def is_likeliest(self) -> bool:
        """Whether nothing else was likelier."""
        return not self.others or self.chance >= self.others[0][1]


@torch.inference_mode()
def explain(session: ChatSession, answer: Answer, *, others: int = 3) -> tuple[Choice, ...]:
    """Every choice that made an answer, its end included where it ended by itself.

    Args:
        session: The model that gave the answer.
        answer: What is explained.
        others: How many alternatives are named at each place.
    """
    prompt = session.tokenizer.encode_prompt(answer.question)
    said = session.tokenizer.encode(answer.text)
    targets = [*said, SEP_ID] if answer.stop_reason == "stop" else said
    if not targets:
        return ()
    ids = torch.tensor([[*prompt, *targets[:-1]]], device=session.runtime.device)
    logits = session.model(ids)[0, len(prompt) - 1 :].float()  # [T, V]
    chances = logits.softmax(-1).cpu()
    rivals = chances.clone()
    rivals[:, list(NEVER)] = -1.0
    rivals[range(len(targets)), targets] = -1.0
    best = rivals.topk(min(others, rivals.shape[1] - len(NEVER) - 1))
    names = session.tokenizer.vocab.tokens

    def name(token: int) -> str:
        return END if token == SEP_ID else names[token]

    return tuple(
        Choice(
            said=name(target),
            chance=float(chances[place, target]),
            others=tuple(
                (name(token), chance)
                for token, chance in zip(
                    best.indices[place].tolist(), best.values[place].tolist(), strict=True
                )
            ),
        )
        for place, target in enumerate(targets)
    )
