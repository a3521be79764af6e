"""Numbers of things, in sentences."""


def plural(number: float, noun: str) -> str:
    """The form of a noun behind a number: "image" behind 1, "images" behind 2 or 0."""
    if number == 1:
        return noun
    return f"{noun}es" if noun.endswith(("s", "x", "tch")) else f"{noun}s"


def count_of(number: int, noun: str) -> str:
    """ "1 image", "1,200 images"."""
    return f"{number:,} {plural(number, noun)}"
