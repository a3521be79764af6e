"""The progress bar of preparation."""

from tqdm import tqdm


def progress(items, description: str, total: int | None = None):
    """Iterates over `items` with a bar on standard error; `total` if they have no length."""
    return tqdm(items, desc=description, total=total, unit=" examples", mininterval=0.5)
