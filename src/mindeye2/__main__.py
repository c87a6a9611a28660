"""``python -m mindeye2``."""

from mindeye2.cli import main

main()
