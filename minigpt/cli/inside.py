"""Looking inside: the model as a tree, and pairs as the model is fed them."""

import dataclasses
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from minigpt.cli.render import columns, lines_of
from minigpt.cli.text import number, safe

if TYPE_CHECKING:
    from minigpt.model.outline import Part, Weight
    from minigpt.services.plan import DryRunResult
    from minigpt.services.stats import ShownPair, ShownToken, StatsResult

UNKNOWN = "<unk>"


def lines_of_dry_run(result: "DryRunResult") -> Iterator[Text]:
    """The model part by part, then the other figures as any result's."""
    yield from _headed([["part", "weights", "parameters"], *_tree(result.model)])
    yield Text()
    fields = (field.name for field in dataclasses.fields(result))
    yield from lines_of({name: getattr(result, name) for name in fields if name != "model"})


def _tree(part: "Part", depth: int = 0) -> Iterator[list[str]]:
    # Indented and without lines: terminals disagree on the width of those in Chinese text.
    weights = "  ".join(map(_weight, part.weights))
    name = f"{'  ' * depth}{part.name}"
    if part.alike == 1:
        yield [name, weights, number(part.parameters)]
    else:
        each = number(part.parameters // part.alike)
        yield [name, f"{part.alike} alike, {each} each", number(part.parameters)]
    for inner in part.parts:
        yield from _tree(inner, depth + 1)


def _weight(weight: "Weight") -> str:
    if weight.shared_with:
        return f"the {weight.name} of {weight.shared_with}"
    return f"{weight.name} {list(weight.shape)}"


def lines_of_stats(result: "StatsResult") -> Iterator[Text]:
    """The figures as any result's, then the pairs that were to be shown."""
    fields = (field.name for field in dataclasses.fields(result))
    yield from lines_of({name: getattr(result, name) for name in fields if name != "shown"})
    for place, pair in enumerate(result.shown, start=1):
        yield Text()
        yield Text(f"pair {place}", style="bold")
        yield from _pair(pair)


def _pair(pair: "ShownPair") -> Iterator[Text]:
    yield Text.assemble("  ", ("question", "dim"), f"  {safe(pair.question)}")
    yield Text.assemble("  ", ("answer", "dim"), f"    {safe(pair.answer)}")
    yield Text(f"  {_counts(pair)}")
    yield Text()
    header = ["place", "part", "token", "id", "target", "id", "all", "answer"]
    yield from _headed([header, *map(_position, pair.tokens)])


def _counts(pair: "ShownPair") -> str:
    tokens, targets = len(pair.tokens) + 1, len(pair.tokens)
    if pair.over_max_length:
        return f"{tokens} tokens: longer than [train] max_length, so training leaves the pair out"
    on_answer = sum(token.counts_on_answer for token in pair.tokens)
    return (
        f"{tokens} tokens, {targets} targets; + counts: "
        f"{targets} with --loss-on all, {on_answer} with answer"
    )


def _position(token: "ShownToken") -> list[str]:
    seen = visible(token.token)
    if token.token == UNKNOWN:
        seen += f" {visible(token.text)}"
    target = visible(token.target)
    # Ids are names, not amounts: no separators.
    cells = [str(token.position), token.part, seen, str(token.id), target, str(token.target_id)]
    counts = (token.counts_on_all, token.counts_on_answer)
    return [*cells, *("+" if each else "-" for each in counts)]


def visible(character: str) -> str:
    """A token as it can be seen: what has no width, no ink or steers a terminal by its number."""
    if len(character) > 1:  # a special token
        return character
    has_ink = unicodedata.category(character)[0] not in "CZM"
    return character if has_ink and cell_len(character) else f"U+{ord(character):04X}"


def _headed(rows: list[list[str]]) -> Iterator[Text]:
    lines = columns(rows)
    heading = next(lines)
    heading.stylize("dim")
    yield heading
    yield from lines
