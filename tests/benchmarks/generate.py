"""How fast a model answers, on each path, beside the tutorial's manner and Hugging Face's.

    python -m tests.benchmarks.generate                       # base, random weights, 200 tokens
    python -m tests.benchmarks.generate --questions 1024 --new-batch 64     # on a GPU

The reference is the tutorial's manner: the whole sequence is computed anew for every token, in
float32 and without a cache. Each path runs in a process of its own, so that its peak of memory is
its own; the paths take turns, and the median of the rounds is shown. The limit is what reading the
weights once for every token would allow at the memory bandwidth measured in the same run.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from minigpt.corpus.qa import QAPair
from minigpt.corpus.vocab import build_vocab
from minigpt.model.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from minigpt.model.config import GPTConfig
from minigpt.model.decoder import Decoder
from minigpt.model.generation import complete
from minigpt.model.gpt import GPT
from minigpt.model.quantize import GROUP
from minigpt.model.runtime import Runtime
from minigpt.model.sampling import Sampler
from minigpt.settings import ModelSettings, RuntimeSettings

NO_STOP = -1  # no token ends an answer: all have the same length
BITS = {"float32": 32.0, "bfloat16": 16.0, "int8": 8.0, "int4": 4.0 + 32 / GROUP}
SAMPLERS = {"greedy": Sampler(temperature=0), "top-k": Sampler(temperature=0.8, top_k=20)}
PASSED_ON = [
    "size",
    "vocab_size",
    "prompt",
    "new",
    "new_batch",
    "questions",
    "device",
    "checkpoint",
]

Options = argparse.Namespace


def make_checkpoint(path: Path, options: Options) -> None:
    """A model of random weights: how fast it is does not depend on them."""
    characters = "".join(chr(0x4E00 + i) for i in range(options.vocab_size - 3))
    vocab = build_vocab([QAPair(characters, "")])
    config = GPTConfig.from_settings(ModelSettings(size=options.size), vocab_size=vocab.size)
    torch.manual_seed(0)
    info = CheckpointInfo(step=0, epoch=0, max_length=config.block_size)
    save_checkpoint(path, GPT(config), vocab, info)


class Tutorial:
    """The tutorial's `generate`: every token from the whole sequence before it."""

    def __init__(self, model: GPT, device: torch.device) -> None:
        self.model = model.to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, prompt: list[int], new: int, sampler: Sampler) -> float:
        ids = torch.tensor([prompt], device=self.device)
        started = time.perf_counter()
        for _ in range(new):
            logits = self.model(ids)[:, -1]
            ids = torch.cat([ids, self._next(logits, sampler)], dim=1)
        ids.tolist()
        return time.perf_counter() - started

    @staticmethod
    def _next(logits: Tensor, sampler: Sampler) -> Tensor:
        if sampler.temperature == 0:
            return logits.argmax(-1, keepdim=True)
        logits = logits / sampler.temperature
        lowest = torch.topk(logits, sampler.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < lowest, float("-inf"))
        return torch.multinomial(logits.softmax(-1), 1)


def hugging_face(options: Options, device: torch.device) -> Callable[..., float]:
    """GPT-2 of the same sizes with its own cache, in bfloat16."""
    import transformers

    config = GPTConfig.from_settings(
        ModelSettings(size=options.size), vocab_size=options.vocab_size
    )
    theirs = transformers.GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.block_size,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(theirs).to(device, torch.bfloat16).eval()

    def ask(prompts: list[list[int]], new: int, sampler: Sampler) -> float:
        ids = torch.tensor(prompts, device=device)
        drawn: dict[str, Any] = {"do_sample": False}
        if sampler.temperature > 0:
            drawn = {
                "do_sample": True,
                "temperature": sampler.temperature,
                "top_k": sampler.top_k,
            }
        started = time.perf_counter()
        model.generate(ids, min_new_tokens=new, max_new_tokens=new, **drawn).tolist()
        return time.perf_counter() - started

    return ask


def measure(path: str, options: Options) -> dict[str, Any]:
    """The figures of one path, in this process."""
    if path == "bandwidth":
        return {"bytes/s": bandwidth(torch.device(options.device))}
    wish = {"dtype": path if path in {"float32", "bfloat16"} else "auto"}
    wish |= {"quantize": path} if path in {"int8", "int4"} else {}
    settings = RuntimeSettings.model_validate({"device": options.device, **wish})
    runtime = Runtime.resolve(settings, training=False)
    started = time.perf_counter()
    checkpoint = load_checkpoint(options.checkpoint)
    generator = torch.Generator().manual_seed(1)
    shape = (options.questions, options.prompt)
    prompts = torch.randint(3, options.vocab_size, shape, generator=generator).tolist()
    figures: dict[str, Any] = {}
    if path == "reference":
        tutorial = Tutorial(checkpoint.build(), runtime.device)
        for name, sampler in SAMPLERS.items():
            tutorial(prompts[0], 5, sampler)
            seconds = [tutorial(prompts[0], options.new, sampler) for _ in range(2)]
            figures[f"one, {name}"] = options.new / min(seconds)
        figures["questions/s"] = 1 / tutorial(prompts[0], options.new_batch, SAMPLERS["greedy"])
    elif path == "hugging face":
        ask = hugging_face(options, runtime.device)
        for name, sampler in SAMPLERS.items():
            ask(prompts[:1], 5, sampler)
            seconds = [ask(prompts[:1], options.new, sampler) for _ in range(2)]
            figures[f"one, {name}"] = options.new / min(seconds)
        figures["questions/s"] = len(prompts) / ask(prompts, options.new_batch, SAMPLERS["greedy"])
    else:
        model = runtime.answering(checkpoint.build())
        figures |= _ours(model, runtime, prompts, options, started=started)
    figures["peak MB"] = _peak_megabytes(runtime)
    return figures


def _ours(
    model: GPT, runtime: Runtime, prompts: list[list[int]], options: Options, *, started: float
) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    capacity = options.prompt + max(options.new, options.new_batch)
    decoder = Decoder(model, rows=1, capacity=capacity, sampler=SAMPLERS["greedy"])

    def ask(new: int) -> tuple[float, float]:
        """Seconds in all, and from the first token on."""
        begun = time.perf_counter()
        drawn = decoder.write(prompts[:1], seeds=[7], steps=new)
        next(drawn)
        first = time.perf_counter()
        for _ in drawn:
            pass
        ended = time.perf_counter()
        return ended - begun, ended - first

    runtime.synchronize()
    figures["load s"] = time.perf_counter() - started
    figures["first answer s"] = ask(20)[0]
    begun = time.perf_counter()
    decoder.record()
    runtime.synchronize()
    figures["record s"] = time.perf_counter() - begun
    for name, sampler in SAMPLERS.items():
        decoder.use(sampler)
        ask(20)
        spent = [ask(options.new) for _ in range(3)]
        figures[f"one, {name}"] = options.new / min(whole for whole, _ in spent)
        figures[f"steady, {name}"] = (options.new - 1) / min(later for _, later in spent)
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        answers = complete(
            model,
            prompts,
            sampler=SAMPLERS["greedy"],
            max_new_tokens=options.new_batch,
            stop_token_id=NO_STOP,
            batch_size=options.questions,
        )
        assert all(len(completion.ids) == options.new_batch for _, completion in answers)
        times.append(time.perf_counter() - begun)
    figures["questions/s"] = len(prompts) / min(times)
    return figures


def _peak_megabytes(runtime: Runtime) -> float:
    if runtime.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")  # on Linux getrusage begins at what the parent had
    if status.exists():
        (line,) = [each for each in status.read_text().splitlines() if each.startswith("VmHWM")]
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def bandwidth(device: torch.device) -> float:
    """Bytes per second that the device reads."""
    numbers = torch.ones(256 << 20, device=device)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        numbers.sum().item()
        seconds.append(time.perf_counter() - started)
    return numbers.numel() * 4 / min(seconds)


def limit(path: str, config: GPTConfig, bytes_per_s: float) -> float:
    """Tokens per second if only the weights had to be read."""
    output = config.vocab_size * config.n_embd * (8.0 if path == "int4" else BITS[path])
    return bytes_per_s * 8 / (config.block_matrix_parameters * BITS[path] + output)


def seconds_to_first(command: list[str]) -> float:
    """From the start of a process to the first byte that it writes, or to its end."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        return time.perf_counter() - started


def start_up(options: Options) -> dict[str, float]:
    """Median seconds of some processes, taking turns."""
    python = sys.executable
    chat = [python, "-m", "minigpt", "chat", "你好", "--seed", "1", "--device", options.device]
    chat += ["--checkpoint", str(options.checkpoint)]
    commands = {
        "python": [python, "-c", "pass"],
        "import torch": [python, "-c", "import torch"],
        "first character of chat": chat,
        "first character of chat, int8": [*chat, "--quantize", "int8"],
    }
    if not options.device.startswith("cpu"):
        commands.popitem()
    rounds = [
        {name: seconds_to_first(command) for name, command in commands.items()}
        for _ in range(options.rounds + 1)
    ][1:]
    return {name: median(each[name] for each in rounds) for name in commands}


def run_all(options: Options) -> None:
    """Let the paths take turns and write the tables."""
    device = Runtime.resolve(RuntimeSettings(device=options.device), training=False).device
    options.device = str(device)
    found: dict[str, list[dict[str, Any]]] = {path: [] for path in options.paths}
    if importlib.util.find_spec("transformers") is None:
        found.pop("hugging face", None)
        sys.stdout.write("Hugging Face: transformers is not installed\n")
    rate = 0.0
    for _ in range(options.rounds):
        rate = max(rate, _in_own_process("bandwidth", options)["bytes/s"])
        for path, results in found.items():
            results.append(_in_own_process(path, options))
    figures = {
        path: {name: median(each[name] for each in results) for name in results[0]}
        for path, results in found.items()
    }
    config = load_checkpoint(options.checkpoint).config
    sys.stdout.write(_table(figures, config, rate))
    if options.start_up:
        for name, seconds in start_up(options).items():
            sys.stdout.write(f"| {name} | {seconds:.2f} s |\n")


def _in_own_process(path: str, options: Options) -> dict[str, Any]:
    given = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in PASSED_ON]
    command = [sys.executable, "-m", "tests.benchmarks.generate", f"--measure={path}", *given]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _table(figures: dict[str, dict[str, float]], config: GPTConfig, rate: float) -> str:
    lines = [f"{config.parameters:,} parameters; memory is read at {rate / 1e9:,.1f} GB/s"]
    columns = ["one, greedy", "one, top-k", "steady, greedy", "steady, top-k", "questions/s"]
    columns += ["load s", "first answer s", "record s", "peak MB"]
    heads = [*columns, "top-k to reference", "questions to reference", "share of limit"]
    lines += [f"| path | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    base = figures.get("reference", {})
    for path, row in figures.items():
        cells = [f"{row[name]:,.2f}" if name in row else "" for name in columns]
        for name in ("one, top-k", "questions/s"):
            cells.append(f"{row[name] / base[name]:,.1f}" if base else "")
        share = row["steady, greedy"] / limit(path, config, rate) if path in BITS else None
        cells.append(f"{share:.0%}" if share else "")
        lines.append(f"| {path} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description="Measure generation on each path.")
    parser.add_argument("--size", default="base")
    parser.add_argument("--vocab-size", type=int, default=4_825)
    parser.add_argument("--prompt", type=int, default=20, help="tokens of a question")
    parser.add_argument("--new", type=int, default=200, help="tokens of one answer")
    parser.add_argument("--questions", type=int, default=64, help="questions at once")
    parser.add_argument(
        "--new-batch", type=int, default=200, help="tokens of each of their answers"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paths", nargs="+", default=["reference", "hugging face", *BITS])
    parser.add_argument("--no-start-up", dest="start_up", action="store_false")
    parser.add_argument("--checkpoint", type=Path, help="instead of random weights")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(options.measure, options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.checkpoint is None:
            options.checkpoint = Path(folder, "random.safetensors")
            make_checkpoint(options.checkpoint, options)
        run_all(options)


if __name__ == "__main__":
    main()
