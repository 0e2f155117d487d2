from pathlib import Path

import pytest
from rich.cells import cell_len

from minigpt.cli.inside import lines_of_dry_run, lines_of_stats, visible
from minigpt.services.plan import DryRunResult, dry_run
from minigpt.services.stats import show_stats
from minigpt.services.vocab import build_vocabulary
from minigpt.settings import DataSettings, Settings, StatsSettings
from tests.services.tiny import tiny_settings, write_pairs

TERMINAL = 80


def shown(
    root: Path, *pairs: tuple[str, str], known: tuple[tuple[str, str], ...] = ()
) -> list[str]:
    """The lines of `stats --show` for these pairs, with a vocabulary of the known ones."""
    data = DataSettings(
        source=write_pairs(root / "known.jsonl", known or pairs),
        train=write_pairs(root / "train.jsonl", pairs),
        vocab=root / "vocab.json",
    )
    settings = Settings(data=data, stats=StatsSettings(show=len(pairs)))
    build_vocabulary(settings)
    lines = [line.plain for line in lines_of_stats(show_stats(settings))]
    return lines[lines.index("pair 1") :]


def test_a_pair_is_shown_with_ids_targets_and_what_counts(tmp_path: Path) -> None:
    assert shown(tmp_path, ("你好？", "好a")) == [
        "pair 1",
        "  question  你好？",
        "  answer    好a",
        "  7 tokens, 6 targets; + counts: 6 with --loss-on all, 3 with answer",
        "",
        "  place  part       token  id  target  id  all  answer",
        "      0  question   你      4  好       5  +    -",
        "      1  question   好      5  ？       6  +    -",
        "      2  question   ？      6  <sep>    2  +    -",
        "      3  separator  <sep>   2  好       5  +    +",
        "      4  answer     好      5  a        3  +    +",
        "      5  answer     a       3  <sep>    2  +    +",
    ]


def test_the_columns_stand_below_each_other_in_a_narrow_terminal(tmp_path: Path) -> None:
    known = "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))
    question, answer = "一Ａa!, 丁？\u200b\u0301\t" * 3, "爨<sep>\u202e\x1b[2J好" * 3
    lines = shown(tmp_path, (question, answer), known=((known, known),))
    table = lines[lines.index("") + 1 :]
    assert len(table) == len(question) + len(answer) + 2
    assert len({cell_len(line[: line.rindex("  ")]) for line in table}) == 1
    assert max(map(cell_len, table)) <= TERMINAL
    assert all(line.isprintable() for line in table)
    assert any("<unk> 爨" in line for line in table)


def test_no_line_below_a_long_pair_is_wider_than_a_terminal(tmp_path: Path) -> None:
    lines = shown(tmp_path, ("a" * 20, "b" * 118))
    assert lines[3].startswith("  140 tokens, 139 targets")
    assert max(map(cell_len, lines[3:])) <= TERMINAL


@pytest.mark.parametrize(
    ("character", "seen"),
    [
        ("好", "好"),
        ("a", "a"),
        ("😀", "😀"),
        ("<sep>", "<sep>"),
        (" ", "U+0020"),
        ("\n", "U+000A"),
        ("\u3000", "U+3000"),
        ("\u0301", "U+0301"),
        ("\u200b", "U+200B"),
        ("\u202e", "U+202E"),
        ("\ufe0f", "U+FE0F"),
    ],
)
def test_every_character_can_be_seen(character: str, seen: str) -> None:
    assert visible(character) == seen


def test_a_pair_that_training_leaves_out_is_said_to_be(tmp_path: Path) -> None:
    lines = shown(tmp_path, ("问" * 140, "答"))
    assert "longer than [train] max_length" in lines[3]
    assert {tuple(line.split()[-2:]) for line in lines[6:]} == {("-", "-")}


def planned(root: Path, *, n_layer: int = 1) -> DryRunResult:
    settings = tiny_settings(root, model__n_layer=n_layer)
    for path in (settings.data.source, settings.data.train, settings.data.val):
        write_pairs(path)
    build_vocabulary(settings)
    return dry_run(settings)


def test_the_model_is_shown_as_a_tree(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    lines = [line.plain for line in lines_of_dry_run(plan)]
    tree = lines[1 : lines.index("")]
    assert tree[0].split() == ["model", f"{plan.parameters:,}"]
    assert f"weight [{plan.vocab_size}, {plan.n_embd}]" in tree[2]
    assert tree[-1].split() == ["lm_head", "the", "weight", "of", "wte", "0"]
    assert [(len(line) - len(line.lstrip()), line.split()[0]) for line in tree] == [
        (2, "model"),
        (4, "transformer"),
        (6, "wte"),
        (6, "wpe"),
        (6, "blocks"),
        (8, "0"),
        (10, "ln_1"),
        (10, "attn"),
        (12, "qkv_proj"),
        (12, "out_proj"),
        (10, "ln_2"),
        (10, "mlp"),
        (12, "c_fc"),
        (12, "c_proj"),
        (6, "ln_f"),
        (4, "lm_head"),
    ]


def test_alike_blocks_are_counted_together_and_each(tmp_path: Path) -> None:
    plan = planned(tmp_path, n_layer=12)
    (line,) = (line.plain for line in lines_of_dry_run(plan) if "alike" in line.plain)
    (blocks,) = (part for part in plan.model.parts[0].parts if part.name == "blocks")
    each = blocks.parameters // 12
    assert line.split() == ["0-11", "12", "alike,", f"{each:,}", "each", f"{blocks.parameters:,}"]


def test_every_other_figure_follows_the_tree(tmp_path: Path) -> None:
    lines = [line.plain for line in lines_of_dry_run(planned(tmp_path))]
    labels = {line.split("  ")[0] for line in lines[lines.index("") + 1 :]}
    assert labels >= {"parameters", "steps", "device", "disk bytes"}
    assert "model" not in labels
