"""python -m minigpt, what torchrun starts, and the `minigpt` script."""

import signal
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Until the program can say that it was stopped, Ctrl-C ends it as the system does: quietly.
    earlier = signal.getsignal(signal.SIGINT)
    if earlier is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from minigpt.cli.main import main as run

    signal.signal(signal.SIGINT, earlier)
    sys.exit(run())


if __name__ == "__main__":
    main()
