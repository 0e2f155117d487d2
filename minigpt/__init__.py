"""Train a small conversational model from your own questions and answers."""

__version__ = "0.1.0"
