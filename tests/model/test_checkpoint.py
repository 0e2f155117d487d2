import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from minigpt.corpus.vocab import Vocab
from minigpt.errors import CheckpointError, OutputError
from minigpt.model import checkpoint
from minigpt.model.checkpoint import (
    FORMAT,
    CheckpointInfo,
    load_checkpoint,
    load_training_state,
    save_checkpoint,
)
from minigpt.model.gpt import GPT
from minigpt.model.location import BEST, resolve_checkpoint
from tests.tiny import (
    assert_same_weights,
    largest_file,
    random_ids,
    sharpen,
    snapshot,
    tiny_model,
    tiny_vocab,
)

COUNTS = (0, 0, 5, *[1] * (tiny_vocab().size - 3))
INFO = CheckpointInfo(step=3, epoch=1, max_length=20, val_loss=1.25, unigram=COUNTS)
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def split_file(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a safetensors file."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def rewrite(path: Path, **metadata: str) -> None:
    """Put other values into the metadata; hashes stay as they are."""
    header, data = split_file(path)
    header["__metadata__"] |= metadata
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_saved_and_loaded_model_gives_the_same_logits(tmp_path: Path, vocab: Vocab) -> None:
    model = sharpen(tiny_model(dropout=0.3))
    save_checkpoint(tmp_path / "a" / BEST, model, vocab, INFO)

    found = load_checkpoint(tmp_path / "a")
    loaded = found.build()

    ids = random_ids(2, 12, vocab_size=vocab.size)
    assert torch.equal(loaded(ids), model(ids))
    assert_same_weights(snapshot(loaded), snapshot(model))
    assert (found.path, found.info) == (tmp_path / "a" / BEST, INFO)
    assert (found.config, found.vocab) == (model.config, vocab)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert not loaded.training


def test_file_has_no_second_copy_of_the_output_layer(checkpoint_path: Path, tiny_gpt: GPT) -> None:
    with safe_open(checkpoint_path, framework="pt") as file:
        names = [name for name in file.keys() if "training/" not in name]  # noqa: SIM118 - no dict
        shapes = [file.get_slice(name).get_shape() for name in names]
    assert "lm_head.weight" not in names
    parameters = sum(torch.Size(shape).numel() for shape in shapes)
    assert parameters == tiny_gpt.config.parameters


def test_weights_are_stored_in_float32(tmp_path: Path, vocab: Vocab) -> None:
    path = tmp_path / BEST
    save_checkpoint(path, tiny_model().bfloat16(), vocab, INFO)
    weights = load_checkpoint(path).weights
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_training_state_comes_back_as_it_was(tmp_path: Path, vocab: Vocab) -> None:
    tensors = {
        "optimizer.0.1.exp_avg": torch.randn(3, 4),
        "optimizer.0.1.step": torch.tensor(7.0),
        "odd": torch.arange(5, dtype=torch.uint8),
        "empty": torch.zeros(0),
    }
    state = {"epoch": 2, "loss": 0.1 + 0.2, "best": None, "machine": {"名": "é"}}
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, tiny_model(), vocab, INFO, training=tensors, state=state)

    found, plain = load_training_state(path)

    assert_same_weights(found, tensors)
    assert plain == state
    assert not any("optimizer" in name for name in load_checkpoint(path).weights)


def test_checkpoint_without_training_state_cannot_be_resumed(tmp_path: Path, vocab: Vocab) -> None:
    save_checkpoint(tmp_path / BEST, tiny_model(), vocab, INFO)
    with pytest.raises(CheckpointError, match="holds no training state"):
        load_training_state(tmp_path)


def test_training_a_loaded_model_does_not_touch_the_file(checkpoint_path: Path) -> None:
    before = checkpoint_path.read_bytes()
    model = load_checkpoint(checkpoint_path).build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    tensors, _ = load_training_state(checkpoint_path)
    for tensor in tensors.values():
        tensor.add_(1)
    assert checkpoint_path.read_bytes() == before


def test_a_loaded_model_outlives_its_file(checkpoint_path: Path, tiny_gpt: GPT) -> None:
    model = load_checkpoint(checkpoint_path).build()
    save_checkpoint(
        checkpoint_path, tiny_model(seed=9), load_checkpoint(checkpoint_path).vocab, INFO
    )
    checkpoint_path.unlink()
    assert_same_weights(snapshot(model), snapshot(tiny_gpt))


def test_every_cut_of_a_file_is_noticed(checkpoint_path: Path) -> None:
    content = checkpoint_path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for length in (0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(content) - 1):
        checkpoint_path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
            load_checkpoint(checkpoint_path)
    checkpoint_path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError):
        load_checkpoint(checkpoint_path)


def test_a_flipped_bit_in_the_data_is_noticed(checkpoint_path: Path) -> None:
    content = checkpoint_path.read_bytes()
    header, data = split_file(checkpoint_path)
    start = len(content) - len(data)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        damaged = bytearray(content)
        damaged[start + sum(entry["data_offsets"]) // 2] ^= 1
        checkpoint_path.write_bytes(damaged)
        load = load_training_state if name.startswith("training/") else load_checkpoint
        with pytest.raises(CheckpointError, match="sha256 does not match"):
            load(checkpoint_path)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_in_the_header_is_noticed_or_harmless(
    mask: int, checkpoint_path: Path
) -> None:
    content = checkpoint_path.read_bytes()
    good, state = load_checkpoint(checkpoint_path), load_training_state(checkpoint_path)
    end = 8 + int.from_bytes(content[:8], "little")
    noticed = 0
    for place in [*range(8), *range(8, end, 23)]:
        damaged = bytearray(content)
        damaged[place] ^= mask
        checkpoint_path.write_bytes(damaged)
        try:
            found, plain = load_checkpoint(checkpoint_path), load_training_state(checkpoint_path)
        except CheckpointError:
            noticed += 1
            continue
        assert (found.config, found.vocab, found.info) == (good.config, good.vocab, good.info)
        assert_same_weights(dict(found.weights), dict(good.weights))
        assert plain == state
    assert noticed > 8


def test_newer_format_names_both_numbers(checkpoint_path: Path) -> None:
    rewrite(checkpoint_path, format="7")
    for load in (load_checkpoint, load_training_state):
        with pytest.raises(
            CheckpointError, match=f"format 7, this minigpt reads {FORMAT}"
        ) as caught:
            load(checkpoint_path)
        assert caught.value.hint == "upgrade minigpt"


@pytest.mark.parametrize("found", ["", "0", "-1", "one", "1.0", "²", "9" * 5_000])
def test_senseless_format_is_no_checkpoint(found: str, checkpoint_path: Path) -> None:
    rewrite(checkpoint_path, format=found)
    with pytest.raises(CheckpointError, match="not a minigpt checkpoint"):
        load_checkpoint(checkpoint_path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"config": "{}"},
        {"config": "null"},
        {"config": '{"vocab_size": 9, "code": "print()"}'},
        {"vocab": "[]"},
        {"vocab": "{"},
        {"vocab": '["<pad>", "<unk>", "<sep>", 7]'},
        {"vocab": "[" * 100_000},
        {"info": '{"step": 1}'},
        {"info": '{"step": "many", "epoch": 1, "max_length": 4}'},
    ],
)
def test_senseless_metadata_is_damage(metadata: dict[str, str], checkpoint_path: Path) -> None:
    rewrite(checkpoint_path, **metadata)
    with pytest.raises(CheckpointError, match="damaged: "):
        load_checkpoint(checkpoint_path)


@pytest.mark.parametrize("state", ["", "[", "7", "[" * 100_000])
def test_senseless_training_state_is_damage(
    state: str, checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_digest", lambda tensors, metadata: "made to fit")
    rewrite(checkpoint_path, state=state, training_sha256="made to fit")
    with pytest.raises(CheckpointError, match="damaged: "):
        load_training_state(checkpoint_path)


def test_changed_metadata_does_not_match_the_hash(checkpoint_path: Path) -> None:
    rewrite(checkpoint_path, info=INFO.model_copy(update={"step": 4}).model_dump_json())
    with pytest.raises(CheckpointError, match="sha256 does not match"):
        load_checkpoint(checkpoint_path)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_embd": 16}, r"is F32 \[\d+, 32\], expected F32 \[\d+, 16\]"),
        ({"block_size": 64}, "transformer.wpe.weight is"),
        ({"n_layer": 1}, "blocks.1.* is missing or not expected"),
        ({"n_layer": 3}, "blocks.2.* is missing or not expected"),
        ({"vocab_size": 99}, r"\d+ tokens in the vocabulary, 99 in the model"),
    ],
)
def test_weights_that_do_not_fit_the_sizes_are_damage(
    sizes: dict[str, int], message: str, tmp_path: Path, vocab: Vocab
) -> None:
    model = tiny_model()
    model.config = model.config.model_copy(update=sizes)
    save_checkpoint(tmp_path / BEST, model, vocab, INFO)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_weights_in_another_number_format_are_damage(checkpoint_path: Path) -> None:
    with safe_open(checkpoint_path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).bfloat16() for name in file.keys()}  # noqa: SIM118 - no dict
    save_file(tensors, checkpoint_path, metadata)
    with pytest.raises(CheckpointError, match=r"is BF16"):
        load_checkpoint(checkpoint_path)


def peak_memory_kib() -> int:
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory as Linux gives it")
@pytest.mark.parametrize(
    "sizes",
    [
        {"n_embd": 65_536, "n_head": 1, "block_size": 65_536},  # 17 GB of positions alone
        {"n_layer": 1_000},
        {"n_layer": 23, "n_embd": 65_536},  # as many layers as the file has tensors
        {"n_embd": 10**30},
    ],
)
def test_huge_sizes_in_a_tiny_file_take_no_memory(
    sizes: dict[str, int], checkpoint_path: Path
) -> None:
    config = json.loads(split_file(checkpoint_path)[0]["__metadata__"]["config"])
    rewrite(checkpoint_path, config=json.dumps({**config, **sizes}))
    before = peak_memory_kib()
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(checkpoint_path)
    assert peak_memory_kib() - before < 200_000


@pytest.mark.parametrize("stated", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_header_longer_than_the_file_is_damage(stated: int, checkpoint_path: Path) -> None:
    content = checkpoint_path.read_bytes()
    checkpoint_path.write_bytes(stated.to_bytes(8, "little") + content[8:])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(checkpoint_path)


class Bomb:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle 2", "pickle 4", "pickle 5"])
def test_pickles_are_recognised_by_content_and_never_loaded(kind: str, tmp_path: Path) -> None:
    path, trace = tmp_path / BEST, tmp_path / "trace"
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps(Bomb(trace), protocol=int(kind[-1])))
    else:
        torch.save(Bomb(trace), path, _use_new_zipfile_serialization=kind == "zip")
    for load in (load_checkpoint, load_training_state):
        with pytest.raises(CheckpointError, match="looks like a pickle"):
            load(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\x02" + b"\0" * 7 + b"{}", os.urandom(999)])
def test_other_files_are_no_checkpoints(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / BEST
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_safetensors_of_others_are_no_checkpoints(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.ones(2)}, tmp_path / BEST, metadata)
        with pytest.raises(CheckpointError, match="not a minigpt checkpoint"):
            load_checkpoint(tmp_path)


def test_run_directory_names_its_best(checkpoint_path: Path) -> None:
    directory = checkpoint_path.parent
    with pytest.raises(CheckpointError, match=f"no {BEST}"):
        resolve_checkpoint(directory)
    checkpoint_path.rename(directory / BEST)
    assert resolve_checkpoint(directory) == resolve_checkpoint(directory / BEST) == directory / BEST


def test_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / ("n" * 300)):
        with pytest.raises(CheckpointError, match="cannot read the checkpoint") as caught:
            load_checkpoint(path)
        assert "minigpt train" in caught.value.hint


@POSIX
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / BEST)
    for path in (tmp_path, tmp_path / BEST):
        with pytest.raises(CheckpointError, match="not a regular file"):
            load_checkpoint(path)


def test_directory_in_the_place_of_best_is_refused(tmp_path: Path) -> None:
    (tmp_path / BEST).mkdir()
    with pytest.raises(CheckpointError, match="it is a directory"):
        load_checkpoint(tmp_path)


@POSIX
def test_full_disk_leaves_the_previous_file_and_no_other(
    checkpoint_path: Path, vocab: Vocab
) -> None:
    before = checkpoint_path.read_bytes()
    with (
        largest_file(20_000),
        pytest.raises(OutputError, match="cannot be written"),
    ):
        save_checkpoint(checkpoint_path, tiny_model(), vocab, INFO)
    assert checkpoint_path.read_bytes() == before
    assert list(checkpoint_path.parent.iterdir()) == [checkpoint_path]


def test_place_that_cannot_be_written_is_an_error(checkpoint_path: Path, vocab: Vocab) -> None:
    for path in (checkpoint_path / BEST, checkpoint_path.parent):
        with pytest.raises(OutputError):
            save_checkpoint(path, tiny_model(), vocab, INFO)
    assert list(checkpoint_path.parent.iterdir()) == [checkpoint_path]


SAVE_FOREVER = """
import sys
from pathlib import Path
from minigpt.model.checkpoint import save_checkpoint
from tests.model.test_checkpoint import INFO
from tests.tiny import tiny_model, tiny_vocab
model, vocab, step = tiny_model(n_embd=192), tiny_vocab(), 0
while True:
    step += 1
    save_checkpoint(Path(sys.argv[1]), model, vocab, INFO.model_copy(update={"step": step}))
    print(step, flush=True)
"""


@POSIX
def test_kill_during_save_leaves_a_whole_file(tmp_path: Path) -> None:
    delays_s = [0.0, 0.003, 0.011]
    paths = [tmp_path / str(number) / BEST for number in range(len(delays_s))]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for path in paths
    ]
    for process, path, delay_s in zip(processes, paths, delays_s, strict=True):
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == b"1\n"
            time.sleep(delay_s)
            process.send_signal(signal.SIGKILL)
            process.wait()
            announced = [1, *map(int, process.stdout.read().split())]
        # A file that was announced is there; a later one may have come in its place.
        assert load_checkpoint(path).info.step in (announced[-1], announced[-1] + 1)


def test_a_run_stopped_before_its_first_validation_names_its_last_checkpoint(
    tmp_path: Path,
) -> None:
    (tmp_path / "last.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="not been validated yet") as caught:
        resolve_checkpoint(tmp_path)
    assert str(tmp_path / "last.safetensors") in caught.value.hint


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_and_moments_that_are_no_numbers_are_refused(
    bad: float, tmp_path: Path, vocab: Vocab
) -> None:
    path, model = tmp_path / "last.safetensors", tiny_model()
    save_checkpoint(path, model, vocab, INFO, training={"odd": torch.tensor([bad])})
    load_checkpoint(path)
    with pytest.raises(CheckpointError, match="training/odd holds values that are not numbers"):
        load_training_state(path)
    with torch.no_grad():
        model.transformer.ln_f.bias[0] = bad
    save_checkpoint(path, model, vocab, INFO)
    with pytest.raises(CheckpointError, match=r"ln_f\.bias holds values that are not numbers"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "info",
    [
        {"max_length": 10**30},
        {"max_length": -1},
        {"step": -1},
        {"epoch": 2**63},
        {"loss_on": "\x1b[2J"},
        {"val_loss": "Infinity"},
        {"unigram": [1, 2, 3]},
        {"unigram": [-1] * 33},
    ],
)
def test_senseless_origin_is_damage(info: dict[str, Any], checkpoint_path: Path) -> None:
    rewrite(checkpoint_path, info=json.dumps({**INFO.model_dump(), **info}))
    with pytest.raises(CheckpointError, match="damaged: "):
        load_checkpoint(checkpoint_path)
