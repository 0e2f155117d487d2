from minigpt.corpus.qa import QAPair
from minigpt.corpus.vocab import build_vocab
from minigpt.evaluation.encoded import draw, encode

PAIRS = [QAPair(f"问{n}", "答" * n) for n in range(1, 30)]


def test_pairs_and_ids_stay_together() -> None:
    encoded = encode(PAIRS, build_vocab(PAIRS), max_length=20)
    assert encoded.dataset.too_long == len(PAIRS) - len(encoded)
    for pair, length in zip(encoded.pairs, encoded.dataset.lengths.tolist(), strict=True):
        assert length == len(pair.question) + len(pair.answer) + 2 <= 20


def test_a_sample_is_seeded_and_in_order() -> None:
    first, again, other = (draw(PAIRS, 5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == [pair for pair in PAIRS if pair in first]
    assert draw(PAIRS, 99, seed=1) == PAIRS


def test_accepted_answers_are_noticed_and_keywords_by_the_majority() -> None:
    whole = QAPair("问", "是巴黎。", answers=("巴黎",))
    word = QAPair("问", "巴黎", answers=("巴黎",))
    for pairs, accepted, keywords in (
        ([PAIRS[0]], False, False),
        ([whole, PAIRS[0]], True, False),
        ([word, PAIRS[0]], True, False),
        ([word, word, PAIRS[0]], True, True),
    ):
        encoded = encode(pairs, build_vocab(pairs), max_length=20)
        assert (encoded.has_accepted, encoded.has_keywords) == (accepted, keywords)
