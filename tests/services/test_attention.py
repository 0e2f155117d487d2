import io
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from minigpt.errors import OutputError, SettingsError
from minigpt.model.gpt import Block
from minigpt.services import attention_picture, fonts
from minigpt.services.attention import (
    END,
    SEPARATOR,
    attend,
    attention_of,
    attention_weights,
    draw_attention,
)
from minigpt.services.chat import Answer, ChatSession
from tests.services.tiny import PAIRS, Finished, tiny_settings
from tests.tiny import random_ids, sharpen, tiny_model

QUESTION = PAIRS[0][0]
MODEL = sharpen(tiny_model())
IDS = random_ids(13, vocab_size=MODEL.config.vocab_size)


def weights() -> Tensor:
    return attention_weights(MODEL, IDS)


def test_there_is_a_row_of_weights_for_each_layer_head_and_token() -> None:
    found = weights()
    config = MODEL.config
    assert found.shape == (config.n_layer, config.n_head, len(IDS), len(IDS))
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:-1]))
    assert bool((found >= 0).all())


def test_nothing_attends_to_the_future() -> None:
    later = torch.ones(len(IDS), len(IDS), dtype=torch.bool).triu(1)
    assert weights()[..., later].count_nonzero() == 0
    assert weights()[:, :, 0, 0].eq(1).all()


def test_the_context_is_that_of_the_fast_model() -> None:
    h = MODEL.transformer
    x = h.wte(IDS) + h.wpe(torch.arange(len(IDS)))
    for block in h.blocks:
        assert isinstance(block, Block)
        with torch.no_grad():
            expected = block.attn(block.ln_1(x[None]), mask=None)[0]
            context, _ = attend(block, x)
            torch.testing.assert_close(context, expected)
            x = block(x[None], mask=None)[0]


def test_every_layer_is_fed_what_the_fast_model_feeds_it() -> None:
    found: list[Tensor] = []
    last = MODEL.transformer.blocks[-1]
    assert isinstance(last, Block)
    handle = last.register_forward_pre_hook(lambda _, given: found.append(given[0]))
    with torch.no_grad():
        MODEL(IDS[None])
        handle.remove()
        _, expected = attend(last, found[0][0])
    torch.testing.assert_close(weights()[-1], expected)


def test_a_longer_text_leaves_the_earlier_rows_alone() -> None:
    shorter = attention_weights(MODEL, IDS[:6])
    torch.testing.assert_close(weights()[:, :, :6, :6], shorter)


def said(finished: Finished, reason: str = "stop") -> tuple[ChatSession, Answer]:
    """An answer of some characters that ended in this way."""
    session = ChatSession.open(
        tiny_settings(finished.root, chat__seed=0, chat__temperature=2.0, chat__top_k=0)
    )
    for _ in range(200):
        list(session.ask(QUESTION))
        if session.last.stop_reason == reason and len(session.last.text) > 1:
            return session, session.last
    raise AssertionError(reason)


@pytest.mark.parametrize("reason", ["length", "stop"])
def test_rows_are_the_choices_and_columns_what_was_read(finished: Finished, reason: str) -> None:
    session, answer = said(finished, reason)
    found = attention_of(session, answer)
    read = (*answer.question, SEPARATOR, *answer.text)
    if reason == "stop":
        assert (found.rows, found.columns) == ((*answer.text, END), read)
    else:
        assert (found.rows, found.columns) == (tuple(answer.text), read[:-1])
    assert found.weights.shape[2:] == (len(found.rows), len(found.columns))


def test_a_character_was_chosen_by_all_that_stood_before_it(finished: Finished) -> None:
    found = attention_of(*said(finished))
    before = len(QUESTION) + 1
    for row in range(len(found.rows)):
        assert found.weights[:, :, row, before + row :].count_nonzero() == 0
        read = found.weights[:, :, row, : before + row]
        assert bool((read > 0).all())
        torch.testing.assert_close(read.sum(-1), torch.ones(read.shape[:2]))


CHINESE = pytest.mark.usefixtures("_chinese_font")


@pytest.fixture
def _chinese_font() -> None:
    pytest.importorskip("matplotlib")
    try:
        fonts.fonts_for(QUESTION)
    except SettingsError:
        pytest.skip("needs a font with Chinese characters")


@CHINESE
@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_picture_is_drawn_in_the_form_of_its_name(
    finished: Finished, tmp_path: Path, suffix: str, start: bytes
) -> None:
    session, answer = said(finished)
    path = tmp_path / f"图.{suffix}"
    assert draw_attention(session, answer, path) == "written"
    assert path.read_bytes().startswith(start)
    assert draw_attention(session, answer, path) == "unchanged"


@CHINESE
def test_another_file_is_replaced_only_by_force(finished: Finished, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists with other content"):
        draw_attention(*said(finished), path)
    assert path.read_bytes() == b"mine"
    assert draw_attention(*said(finished), path, force=True) == "written"


@pytest.fixture
def _latin_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the fonts that matplotlib brings along, and no others."""
    manager = pytest.importorskip("matplotlib.font_manager")
    own = [entry for entry in manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(manager.fontManager, "ttflist", own)
    monkeypatch.setattr(manager, "findSystemFonts", lambda: [])


@pytest.mark.usefixtures("_latin_fonts")
def test_nothing_is_drawn_where_no_font_has_the_characters(
    finished: Finished, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="no font") as caught:
        draw_attention(*said(finished), tmp_path / "a.png")
    assert "fonts-noto-cjk" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_latin_fonts")
@pytest.mark.parametrize("size", [(1, 1, 1, 2), (2, 3, 4, 9), (2, 12, 90, 130)])
def test_the_labels_are_the_characters_in_fonts_that_have_them(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int, int, int]
) -> None:
    used = Recorder(monkeypatch)
    columns = [*("aé $?\n" * 30)[: size[3] - 1], "sep"]
    picture = attention_picture.draw_grid(
        torch.rand(size).numpy(),
        rows=["z"] * size[2],
        columns=columns,
        split=size[3] - size[2] + 1,
        file_format="svg",
    )
    assert used.asked >= set("aespz")
    assert len(re.findall(rb'<g id="axes_', picture)) == size[0] * size[1] + 2


@pytest.mark.usefixtures("_latin_fonts")
def test_a_character_of_no_font_is_drawn_by_its_number() -> None:
    picture = attention_picture.draw_grid(
        torch.rand(1, 1, 2, 4).numpy(),
        rows=["a", "🫠"],
        columns=["🤔", " ", "sep", "a"],
        split=3,
        file_format="svg",
    )
    labels = set(re.findall(rb"<!-- (\S+) -->", picture))
    assert {b"U+1FAE0", b"U+1F914", b"U+0020", b"sep", b"a"} <= labels


@pytest.mark.usefixtures("_latin_fonts")
def test_the_largest_share_is_the_brightest_even_if_all_are_small() -> None:
    image = pytest.importorskip("matplotlib.image")
    colours = pytest.importorskip("matplotlib").colormaps[attention_picture.COLOURS]
    weights = torch.full((1, 1, 8, 12), 0.05)
    weights[..., 3, 2] = 0.2
    picture = attention_picture.draw_grid(
        weights.numpy(), rows=["z"] * 8, columns=["a"] * 12, split=5, file_format="png"
    )
    shown = torch.from_numpy(image.imread(io.BytesIO(picture)))[..., :3]
    brightest = (shown - torch.tensor(colours(1.0)[:3])).abs().amax(-1) < 0.01
    side = attention_picture.SMALL_CELL * attention_picture.DPI
    assert int(brightest.sum()) > side**2


@pytest.mark.usefixtures("_latin_fonts")
def test_every_head_of_base_has_labels_where_a_pair_has_66_tokens() -> None:
    picture = attention_picture.draw_grid(
        torch.rand(1, 8, 20, 66).numpy(),
        rows=["z"] * 20,
        columns=["a"] * 66,
        split=47,
        file_format="svg",
    )
    assert picture.count(b"<!-- z -->") == 20 * (1 + 8)
    assert picture.count(b"<!-- a -->") == 66 * (1 + 8)


class Recorder:
    """The characters for which a font was looked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: set[str] = set()
        find = fonts.fonts_for

        def recording(characters: str) -> Mapping[str, object]:
            self.asked |= set(characters)
            return find(characters)

        monkeypatch.setattr(attention_picture, "fonts_for", recording)
