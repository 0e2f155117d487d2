"""Makes the checkpoint of the current format: `python -m tests.golden.make`, once for each format.

A file that was published under a format stays as it is: every later minigpt must read it.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch

from minigpt.model.checkpoint import FORMAT, load_checkpoint, load_training_state
from minigpt.services.train import train
from tests.services.tiny import tiny_settings, write_pairs

HERE = Path(__file__).parent
QUESTION = "1加1等于几？"


def describe(path: Path) -> dict[str, object]:
    """What any reader of the file must find in it."""
    found = load_checkpoint(path)
    tensors, state = load_training_state(path)
    ids = torch.tensor([[found.vocab.ids[character] for character in QUESTION]])
    with torch.no_grad():
        logits = found.build()(ids)[0, -1]
    return {
        "config": found.config.model_dump(),
        "tokens": list(found.vocab.tokens),
        "info": found.info.model_dump(mode="json"),
        "state": state["state"],
        "training": {name: list(tensor.shape) for name, tensor in sorted(tensors.items())},
        "logits": [round(value, 4) for value in logits.tolist()],
    }


def main() -> None:
    target = HERE / f"format-{FORMAT}.safetensors"
    if target.exists():
        sys.exit(f"{target} is there, and stays as it is")
    with tempfile.TemporaryDirectory() as directory:
        write_pairs(Path(directory) / "data.jsonl")
        changes = {"model__n_embd": 8, "train__optimizer": "muon", "train__show_samples": 0}
        train(tiny_settings(Path(directory), **changes))
        target.write_bytes((Path(directory) / "output" / "last.safetensors").read_bytes())
    text = json.dumps(describe(target), ensure_ascii=False, indent=1) + "\n"
    target.with_suffix(".json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
