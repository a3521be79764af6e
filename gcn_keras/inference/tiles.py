"""Tiles that cover a side of an image which is longer than what goes through a model at once."""


def tile_starts(length: int, tile: int, overlap: int, evenly: bool = False) -> list[int]:
    """Where whole tiles begin that cover a side: as few as the overlap allows.

    Args:
        length: of the side in pixels; with a shorter side there is one tile, which is that side.
        tile: of a tile.
        overlap: pixels that neighbours share at least, below `tile`.
        evenly: whether the tiles are evenly spaced; otherwise all overlap by `overlap` but the
            last, which is moved inwards.
    """
    if length <= tile:
        return [0]
    rest, step = length - tile, tile - overlap
    steps = -(-rest // step)
    return [round(i * rest / steps) if evenly else min(i * step, rest) for i in range(steps + 1)]


def nearest_tiles(length: int, tile: int, overlap: int) -> list[tuple[int, int, int]]:
    """Shares a side, at least as long as a tile, among evenly spaced tiles, see `tile_starts`.

    Returns:
        For each tile where it begins, and where the part begins and ends that is taken from it:
        the pixels to whose middle it is nearest.
    """
    starts = tile_starts(length, tile, overlap, evenly=True)
    cuts = [(left + tile + right) // 2 for left, right in zip(starts, starts[1:], strict=False)]
    return list(zip(starts, [0, *cuts], [*cuts, length], strict=True))
