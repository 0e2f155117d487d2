"""What suits the data, the model and the device, where a setting leaves it open.

The figures behind these rules stand in tests/benchmarks/RESULTS.md.
"""

import math

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.model.config import GPTConfig
from minigpt.settings import ModelSettings, TrainSettings

SMALL_BATCH = 64  # pairs; the steps of which batches are made
LARGE_BATCH = 256  # from which `base` learns as much a pair as from fewer
WIDTHS_OF_A_STEP = 4  # targets, for each unit of the width: so many cost what Muon costs
STEPS_OF_AN_EPOCH = 200  # rather than batches that large
FEWEST_EPOCHS, MOST_EPOCHS = 4, 15
STEPS_OF_A_RUN = 1_400  # on few pairs, rather than the fewest epochs
ROOM_TO_MEMORISE = 48  # parameters times epochs, for each token: as much needs no dropout
DROPOUT_PER_DOUBLING = 0.1
MOST_DROPOUT = 0.4


def suited(
    train: TrainSettings,
    model: ModelSettings,
    train_set: TokenizedDataset,
    *,
    vocab_size: int,
    device: str,
) -> tuple[TrainSettings, ModelSettings]:
    """The settings with a number where one is left open, so that no 0 or -1 is left.

    Args:
        train: As given.
        model: As given.
        train_set: What the model will learn from.
        vocab_size: Tokens of the vocabulary.
        device: Kind of device, as PyTorch names it.
    """
    pairs, dropout = train_set.n_pairs, model.dropout
    tokens = (train_set.n_tokens - pairs) / pairs
    batch_size = train.batch_size or suited_batch_size(
        pairs, tokens=tokens, width=model.shape[2], device=device
    )
    epochs = train.epochs or suited_epochs(math.ceil(pairs / batch_size))
    if dropout < 0:
        parameters = GPTConfig.from_settings(model, vocab_size=vocab_size).parameters
        dropout = suited_dropout(epochs * parameters / train_set.n_tokens)
    return (
        train.model_copy(update={"batch_size": batch_size, "epochs": epochs}),
        model.model_copy(update={"dropout": dropout}),
    )


def suited_batch_size(pairs: int, *, tokens: float, width: int, device: str) -> int:
    """Pairs of a step: many, but few pairs must not make few steps.

    On a GPU a large batch takes hardly longer than a small one; elsewhere it shares Muon's work,
    which is the same for any batch, among more pairs.

    Args:
        pairs: Number of training pairs.
        tokens: Mean targets of a pair.
        width: The model's `n_embd`.
        device: Kind of device.
    """
    wanted = LARGE_BATCH
    if device != "cuda":
        wanted = math.ceil(WIDTHS_OF_A_STEP * width / tokens / SMALL_BATCH) * SMALL_BATCH
    fitting = pairs // STEPS_OF_AN_EPOCH // SMALL_BATCH * SMALL_BATCH
    return max(SMALL_BATCH, min(LARGE_BATCH, wanted, fitting))


def suited_epochs(steps_of_an_epoch: int) -> int:
    """Epochs: the fewest where they make enough steps, more where pairs are few."""
    needed = math.ceil(STEPS_OF_A_RUN / steps_of_an_epoch)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, needed))


def suited_dropout(memory: float) -> float:
    """Dropout for a run that could learn each token by heart with `memory` parameters.

    Args:
        memory: Epochs times parameters, for each token of the training pairs.
    """
    doublings = math.log2(max(1.0, memory / ROOM_TO_MEMORISE))
    return round(min(MOST_DROPOUT, DROPOUT_PER_DOUBLING * doublings), 2)
