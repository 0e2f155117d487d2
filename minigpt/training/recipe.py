"""What suits the data, the model and the device, where a setting leaves it open.

The figures behind these rules stand in tests/benchmarks/RESULTS.md.
"""

import math

from minigpt.corpus.dataset import TokenizedDataset
from minigpt.model.config import GPTConfig
from minigpt.settings import ModelSettings, TrainSettings

SMALL_BATCH = 64  # pairs; the steps of which batches are made
LARGE_BATCH = 256  # from which `base` learns as much a pair as from fewer
WIDTHS_OF_A_STEP = 6  # targets, for each unit of the width: Muon takes the time of about four
STEPS_OF_AN_EPOCH = 200  # rather than batches that large
MUON_RATE = 0.01  # for the small batch
FEWEST_EPOCHS, MOST_EPOCHS = 4, 15
STEPS_OF_A_RUN = 1_400  # on few pairs, rather than the fewest epochs
ROOM_TO_MEMORISE = 48  # parameters times epochs, for each token: as much needs no dropout
DROPOUT_PER_DOUBLING = 0.07
WEAK_DECAY, STRONG_DECAY = 0.02, 0.2
MOST_DROPOUT = 0.4


def suited(
    train: TrainSettings, model: ModelSettings, train_set: TokenizedDataset, *, vocab_size: int
) -> tuple[TrainSettings, ModelSettings]:
    """The settings with a number where one is left open, so that no 0 or -1 is left.

    Args:
        train: As given.
        model: As given.
        train_set: What the model will learn from.
        vocab_size: Tokens of the vocabulary.
    """
    pairs = train_set.n_pairs
    tokens = (train_set.n_tokens - pairs) / pairs
    batch_size = train.batch_size or suited_batch_size(pairs, tokens=tokens, width=model.shape[2])
    epochs = train.epochs or suited_epochs(math.ceil(pairs / batch_size))
    parameters = GPTConfig.from_settings(model, vocab_size=vocab_size).parameters
    doublings = math.log2(epochs * parameters / train_set.n_tokens / ROOM_TO_MEMORISE)
    decay, dropout = train.weight_decay, model.dropout
    found = {
        "batch_size": batch_size,
        "epochs": epochs,
        "muon_learning_rate": train.muon_learning_rate or suited_muon_rate(batch_size),
        "weight_decay": suited_weight_decay(doublings) if decay < 0 else decay,
    }
    dropout = suited_dropout(doublings) if dropout < 0 else dropout
    return train.model_copy(update=found), model.model_copy(update={"dropout": dropout})


def suited_batch_size(pairs: int, *, tokens: float, width: int) -> int:
    """Pairs of a step: as many as make Muon's work small, but few pairs must not make few steps.

    Args:
        pairs: Number of training pairs.
        tokens: Mean targets of a pair.
        width: The model's `n_embd`.
    """
    wanted = math.ceil(WIDTHS_OF_A_STEP * width / tokens / SMALL_BATCH) * SMALL_BATCH
    fitting = pairs // STEPS_OF_AN_EPOCH // SMALL_BATCH * SMALL_BATCH
    return max(SMALL_BATCH, min(LARGE_BATCH, wanted, fitting))


def suited_muon_rate(batch_size: int) -> float:
    """Muon's learning rate: it grows with the root of the batch, whose gradient is less noisy."""
    return round(MUON_RATE * math.sqrt(batch_size / SMALL_BATCH), 4)


def suited_epochs(steps_of_an_epoch: int) -> int:
    """Epochs: the fewest where they make enough steps, more where pairs are few."""
    needed = math.ceil(STEPS_OF_A_RUN / steps_of_an_epoch)
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, needed))


def suited_weight_decay(doublings: float) -> float:
    """Weight decay: much only where a model could learn its pairs by heart; as `suited_dropout`."""
    return STRONG_DECAY if doublings > 0 else WEAK_DECAY


def suited_dropout(doublings: float) -> float:
    """Dropout for a run that could learn its pairs by heart.

    Args:
        doublings: How often the room that is harmless goes into parameters times epochs for each
            token of the pairs, as a logarithm to base 2.
    """
    return round(min(MOST_DROPOUT, max(0.0, DROPOUT_PER_DOUBLING * doublings)), 2)
