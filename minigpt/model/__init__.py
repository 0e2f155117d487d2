"""The device-aware model core: the GPT, its cache, checkpoints and generation."""
