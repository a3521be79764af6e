"""The blocks that make a stage's score map, by name, for those who need no Keras."""

from typing import Literal, get_args

Block = Literal["gcn", "conv1x1", "conv", "stack"]
BLOCKS: tuple[str, ...] = get_args(Block)
