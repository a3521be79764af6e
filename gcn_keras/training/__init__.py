"""Training runs: the loop and its steps, devices, validation, checkpoints, the run folder.

What differs by task is in `segmentation` and `classification`. May import `evaluation`, `recipes`,
`plots`, and what those may.
"""
