"""Where a model looked when it chose each character of an answer, as numbers and as a picture."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from minigpt.errors import SettingsError
from minigpt.files import Status, check_distinct, write_file
from minigpt.model.gpt import GPT, Block
from minigpt.model.reference import scaled_dot_product_attention
from minigpt.services.attention_picture import draw_grid
from minigpt.services.chat import Answer, ChatSession

SEPARATOR, END = "sep", "end"


@dataclass(frozen=True)
class Attention:
    """What each choice of an answer attended to.

    Attributes:
        rows: The characters chosen, `END` where the answer ended by itself.
        columns: The characters attended to: question, `SEPARATOR`, answer so far.
        weights: [n_layer, H, rows, columns] float32 on the CPU; each row sums to 1, and is exactly
            0 on what came later.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    weights: Tensor


def attention_of(session: ChatSession, answer: Answer) -> Attention:
    """The attention behind an answer; the row of a character is that of the place it was chosen at.

    That place is the character before it: there the model read all so far and said what is next.
    """
    ended = answer.stop_reason == "stop"
    rows = (*answer.text, END) if ended else tuple(answer.text)
    columns = (*answer.question, SEPARATOR, *answer.text)
    columns = columns if ended else columns[:-1]
    prompt = session.tokenizer.encode_prompt(answer.question)
    ids = [*prompt, *session.tokenizer.encode(answer.text)][: len(columns)]
    weights = attention_weights(session.model, torch.tensor(ids, device=session.runtime.device))
    return Attention(rows, columns, weights[:, :, len(prompt) - 1 :].float().cpu())


@torch.inference_mode()
def attention_weights(model: GPT, input_ids: Tensor) -> Tensor:
    """The attention of every layer and head over one sequence, in its plain form.

    Args:
        model: In evaluation mode; its weights are the fast path's own.
        input_ids: [T] int64.

    Returns:
        [n_layer, H, T, T]: the row of a token holds its weights on the tokens up to it.
    """
    h = model.transformer
    positions = torch.arange(len(input_ids), device=input_ids.device)
    x: Tensor = h.wte(input_ids) + h.wpe(positions)  # [T, C]
    layers = []
    for block in h.blocks:
        assert isinstance(block, Block)
        context, weights = attend(block, x)
        x = x + context
        x = x + block.mlp(block.ln_2(x))
        layers.append(weights)
    return torch.stack(layers)


def attend(block: Block, x: Tensor) -> tuple[Tensor, Tensor]:
    """What `block.attn` adds to the hidden states [T, C], and its weights [H, T, T]."""
    attention = block.attn
    T, C = x.shape
    q, k, v = attention.qkv_proj(block.ln_1(x)).view(T, 3, attention.n_head, -1).permute(1, 2, 0, 3)
    causal = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
    context, weights = scaled_dot_product_attention(q, k, v, causal)  # [H, T, D], [H, T, T]
    return attention.out_proj(context.transpose(0, 1).reshape(T, C)), weights


def check_drawing() -> None:
    """Refuse to draw before anything else is done.

    Raises:
        SettingsError: Matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError(
            "drawing needs matplotlib, which is not installed", hint='pip install "minigpt[plot]"'
        )


def draw_attention(
    session: ChatSession,
    answer: Answer,
    path: Path,
    *,
    apart_from: Sequence[Path] = (),
    force: bool = False,
) -> Status:
    """Draw the attention behind an answer: its mean, then every layer and head.

    Args:
        session: The model that gave the answer.
        answer: Its text is not empty.
        path: A .png, .svg or .pdf.
        apart_from: Files whose place it may not take, besides the checkpoint.
        force: Whether the picture may take the place of another file.

    Raises:
        OutputError: The file holds something else and `force` is not given, or cannot be written.
        SettingsError: Matplotlib is not installed, no font here has the characters, or the
            picture would replace one of those files.
    """
    check_drawing()
    check_distinct(path, [session.path, *apart_from], what="the picture", option="--attention")
    attention = attention_of(session, answer)
    picture = draw_grid(
        attention.weights.numpy(),
        rows=attention.rows,
        columns=attention.columns,
        split=len(answer.question) + 1,
        file_format=path.suffix.lower().removeprefix("."),
    )
    return write_file(path, picture, force=force)
