"""What is found in a folder of images and masks."""

from pipelines.building.folders import Naming, Pair
from pipelines.building.layouts import find_layout


def found(source, **options):
    layout = find_layout(source, Naming(**options))
    return pairs_of(layout, source)


def pairs_of(layout, source):
    return {
        split: [
            (pair.image_id, *(str(path.relative_to(source)) for path in (pair.image, pair.label)))
            for pair in pairs
            if isinstance(pair, Pair)
        ]
        for split, pairs in layout.splits.items()
    }


def write(source, name, text):
    path = source / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
