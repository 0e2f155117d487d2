"""python -m minigpt, what torchrun starts, and the `minigpt` script."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from minigpt.cli.main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
