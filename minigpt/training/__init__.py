"""Batches, loss, optimizer, validation and the training loop."""
