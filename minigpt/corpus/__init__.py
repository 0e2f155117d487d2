"""Text and ids: reading pairs, the vocabulary, the tokenizer, the split and the statistics."""
