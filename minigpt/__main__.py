"""python -m minigpt, what torchrun starts, and the `minigpt` script."""

import gc
import os
import signal
import sys

# Loading the program and PyTorch makes many objects that stay; looking for garbage among them
# then or at the end is for nothing.
GARBAGE_LOOKED_FOR_EVERY = 100_000  # objects; Python's own number is 700

# Its modules hold locks that complain when they go after what they need: they want to be collected.
COMPILER = "torch._inductor"


def main() -> None:
    """Run the command line and leave with its exit code."""
    gc.disable()
    # pydantic would read what every installed package says of itself; no plugin is of use here.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # numpy's products are small here, and its threads wait for them busily from the first moment.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Until the program can say that it was stopped, Ctrl-C ends it as the system does: quietly.
    earlier = signal.getsignal(signal.SIGINT)
    if earlier is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from minigpt.cli.main import main as run

    signal.signal(signal.SIGINT, earlier)
    gc.freeze()
    gc.set_threshold(GARBAGE_LOOKED_FOR_EVERY)
    gc.enable()
    code = run()
    if COMPILER not in sys.modules:
        gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
