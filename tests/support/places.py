"""Where the tests stand."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
