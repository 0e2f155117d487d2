"""Train the tutorial's recipe, the default and Hugging Face's GPT-2 in turns, and print figures.

    python -m tests.benchmarks.train FILE.jsonl --size base --tokens 64000 --to-loss-after 500

Real tokens a second are targets that are no padding. The contestants take turns within one process
after a full-size warm-up, so that whatever else the machine does meets all of them.

A CPU that has less than this one is imitated by `--without amx` with the environment variable
ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16, and, as many laptops are, by `--without amx avx512_bf16` with

    MKL_ENABLE_INSTRUCTIONS=AVX2 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minigpt.corpus.dataset import TokenizedDataset, tokenize
from minigpt.corpus.tokenizer import Tokenizer
from minigpt.corpus.vocab import build_vocab
from minigpt.events import ignore
from minigpt.layers import load_settings
from minigpt.model.config import GPTConfig
from minigpt.model.gpt import GPT
from minigpt.model.peak import FLOPS_PER_PARAMETER, matmul_peak
from minigpt.model.runtime import Runtime
from minigpt.services.read import read_data
from minigpt.settings import Settings
from minigpt.training.batches import Rows, collate, epoch_batches
from minigpt.training.loop import Trainer
from minigpt.training.loss import token_loss
from minigpt.training.recipe import suited
from minigpt.training.trial import Nobody
from minigpt.training.validation import validate

TUTORIAL = Path(__file__).with_name("tutorial.toml")
HF_ROW = 256  # tokens of a packed row, as nanoGPT and Hugging Face's examples pack
PROBES = {"amx": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the reference's steps, tried in this order


class Contestant:
    """Something that trains step by step; `take` gives the real tokens of its next step."""

    def __init__(self, name: str, take: Callable[[], int], parameters: int) -> None:
        self.name = name
        self.take = take
        self.parameters = parameters
        self.rates: list[float] = []

    def run(self, seconds: float, runtime: Runtime) -> None:
        """Train for about so long and note the rate."""
        runtime.synchronize()
        tokens, started = 0, time.perf_counter()
        while not tokens or time.perf_counter() - started < seconds:
            tokens += sum(self.take() for _ in range(4 if runtime.device.type == "cuda" else 1))
            runtime.synchronize()
        self.rates.append(tokens / (time.perf_counter() - started))


def endless(batches: Callable[[int], list[Rows]]) -> Any:
    """The batches of epoch 1, 2 and so on."""
    return chain.from_iterable(batches(epoch) for epoch in range(1, sys.maxsize))


def model_of(settings: Settings, data: "Data", runtime: Runtime) -> GPT:
    """A fresh model."""
    torch.manual_seed(settings.train.seed)
    config = GPTConfig.from_settings(settings.model, vocab_size=data.vocab_size)
    return GPT(config).to(runtime.device)


def filled(settings: Settings, data: "Data") -> Settings:
    """The settings with what suits the data where they leave it open."""
    train, model = suited(
        settings.train,
        settings.model,
        data.train,
        vocab_size=data.vocab_size,
    )
    return settings.model_copy(update={"train": train, "model": model})


class Data:
    """The pairs of a file, split and encoded."""

    def __init__(self, path: Path, lines: int, max_length: int) -> None:
        pairs = read_data(path, load_settings().data, ignore).pairs
        pairs = list(islice(pairs, lines or len(pairs)))
        vocab = build_vocab(pairs)
        cut = int(len(pairs) * 0.9)
        order = np.random.default_rng(42).permutation(len(pairs))
        parts = [[pairs[i] for i in part] for part in (order[:cut], order[cut:])]
        encoded = [tokenize(part, Tokenizer(vocab), max_length=max_length) for part in parts]
        self.train: TokenizedDataset = encoded[0]
        self.val: TokenizedDataset = encoded[1]
        self.vocab_size = vocab.size


class Reference:
    """The tutorial's loop: every pair padded to the longest length, one plain AdamW."""

    def __init__(self, settings: Settings, data: Data, runtime: Runtime) -> None:
        self.model, self.data, self.runtime = model_of(settings, data, runtime), data, runtime
        train = settings.train
        self.width = train.max_length - 1
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=train.learning_rate)
        self.batches = endless(
            lambda epoch: epoch_batches(  # of like length together, which changes nothing: padded
                data.train.lengths, batch_size=train.batch_size, seed=train.seed, epoch=epoch
            )
        )

    def take(self) -> int:
        """One step."""
        batch = collate(self.data.train, next(self.batches)).to(self.runtime.device)
        wider = (0, self.width - batch.input_ids.shape[1])
        ids = torch.nn.functional.pad(batch.input_ids, wider)
        targets = torch.nn.functional.pad(batch.targets, wider, value=-100)
        self.model.train()
        self.optimizer.zero_grad()
        nats, _ = token_loss(self.model(ids), targets)
        torch.autograd.backward(nats / len(batch.counted))
        self.optimizer.step()
        return len(batch.counted)


class Ours:
    """The default recipe, or `changes` of it, as `minigpt train` runs it."""

    def __init__(self, settings: Settings, data: Data, runtime: Runtime, *, steps: int = 0) -> None:
        self.trainer = Trainer(
            model_of(settings, data, runtime),
            data.train,
            data.val,
            settings.train,
            runtime,
            recorder=Nobody(),
            report=ignore,
        )
        if steps:
            self.trainer.steps = steps
        if runtime.compiles(10**12):
            self.trainer.step.compile()
        self.batches = endless(self.trainer.step.batches)

    def take(self) -> int:
        """One step."""
        rows = next(self.batches)
        self.trainer.train_step(rows)
        if self.trainer.state.step % 64 == 0:
            self.trainer._read_losses()
        return int(self.trainer.train_set.lengths[rows].sum()) - len(rows)


def hugging_face(settings: Settings, data: Data, runtime: Runtime, tokens: int) -> Contestant:
    """Their GPT-2 of the same size on packed rows without a document mask, compiled on a GPU."""
    transformers: Any = importlib.import_module("transformers")
    n_layer, n_head, n_embd = settings.model.shape
    config = transformers.GPT2Config(
        vocab_size=data.vocab_size, n_positions=HF_ROW, n_layer=n_layer, n_head=n_head,
        n_embd=n_embd, resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1, use_cache=False,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).to(runtime.device).train()
    parameters = sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    step = torch.compile(model) if runtime.device.type == "cuda" else model
    ids = torch.from_numpy(data.train.ids.astype(np.int64)).to(runtime.device)
    rows = ids[: len(ids) // HF_ROW * HF_ROW].view(-1, HF_ROW)
    take = max(1, tokens // HF_ROW)

    def one() -> int:
        chosen: Tensor = rows[torch.randint(len(rows), (take,), device=rows.device)]
        with runtime.autocast():
            loss = step(chosen, labels=chosen).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return take * (HF_ROW - 1)

    return Contestant(f"Hugging Face GPT-2, {take * HF_ROW:,} tokens a step", one, parameters)


def time_to_loss(
    reference: Reference, ours: Settings, data: Data, runtime: Runtime, steps: int
) -> str:
    """Seconds that both take to the loss which a fresh reference has after `steps` steps."""

    def loss_and_seconds(model: GPT, take: Callable[[], int], count: int) -> tuple[float, float]:
        runtime.synchronize()
        started = time.perf_counter()
        for _ in range(count):
            take()
        runtime.synchronize()
        seconds = time.perf_counter() - started
        with runtime.uncompiled():
            found = validate(model, data.val, runtime, micro_batch_tokens=8_192)
        return found.all.loss, seconds

    aim, reference_s = loss_and_seconds(reference.model, reference.take, steps)
    for share in SHARES:
        count = max(20, round(steps * share))
        run = Ours(ours, data, runtime, steps=count)
        loss, seconds = loss_and_seconds(run.trainer.model, run.take, count)
        if loss <= aim:
            return (
                f"reference: loss {aim:.3f} after {steps:,} steps, {reference_s:.1f} s; default: "
                f"{loss:.3f} after {count:,} steps, {seconds:.1f} s: 1/{reference_s / seconds:.0f}"
            )
    return f"reference: loss {aim:.3f} after {steps:,} steps, {reference_s:.1f} s; not reached"


def main() -> None:
    """Parse the arguments, let the contestants take turns, print."""
    parser = argparse.ArgumentParser(description="Compare recipes for training.")
    parser.add_argument("source", type=Path)
    parser.add_argument("--lines", type=int, default=0, help="use only the first N lines")
    parser.add_argument("--size", default="base")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--tokens", type=int, default=64_000, help="of a step of the larger batch")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--to-loss-after", type=int, default=0, help="steps of the reference")
    parser.add_argument("--without", nargs="+", default=[], choices=PROBES, help="of the CPU's")
    given = parser.parse_args()
    for feature in given.without:
        setattr(torch.cpu, PROBES[feature], lambda: False)
    wishes = {"device": given.device, "compile": given.compile}
    layer = {"model": {"size": given.size}, "runtime": wishes}
    default = load_settings(layer)
    tutorial = load_settings({"model": {"size": given.size}}, config=TUTORIAL)
    runtime = Runtime.resolve(default.runtime, training=True)
    plain = Runtime(runtime.device)
    data = Data(given.source, given.lines, default.train.max_length)
    per_pair = (data.train.n_tokens - data.train.n_pairs) / data.train.n_pairs
    pairs = min(data.train.n_pairs, max(1, int(given.tokens / per_pair)))
    larger = load_settings({**layer, "train": {"batch_size": pairs}})
    default, larger = (filled(each, data) for each in (default, larger))

    reference = Reference(tutorial, data, plain)
    parameters = reference.model.config.parameters
    contestants = [Contestant("tutorial", reference.take, parameters)]
    for name, settings in (("default", default), (f"default, {pairs:,} pairs a step", larger)):
        contestants.append(Contestant(name, Ours(settings, data, runtime).take, parameters))
    if importlib.util.find_spec("transformers"):
        contestants.append(hugging_face(default, data, runtime, given.tokens))
    else:
        sys.stdout.write("Hugging Face: transformers is not installed\n")
    for contestant in contestants:
        for _ in range(6 if runtime.device.type == "cuda" else 1):  # the fourth may be recorded
            contestant.take()
    for _ in range(given.turns):
        for contestant in contestants:
            contestant.run(given.seconds, runtime)
    peak = matmul_peak(runtime)
    sys.stdout.write(
        f"{runtime.device_name}, {runtime.dtype_name}, torch {torch.__version__}; "
        f"{data.train.n_pairs:,} pairs, {per_pair:.1f} targets a pair, V {data.vocab_size:,}; "
        f"peak {peak / 1e12:.2f} TFLOP/s\n"
        "| | real tokens/s | of the peak |\n| --- | ---: | ---: |\n"
    )
    for contestant in contestants:
        rate = statistics.median(contestant.rates)
        share = FLOPS_PER_PARAMETER * contestant.parameters * rate / peak
        sys.stdout.write(f"| {contestant.name} | {rate:,.0f} | {share:.1%} |\n")
    if given.to_loss_after:
        fresh = Reference(tutorial, data, plain)
        sys.stdout.write(time_to_loss(fresh, default, data, runtime, given.to_loss_after) + "\n")


if __name__ == "__main__":
    main()
