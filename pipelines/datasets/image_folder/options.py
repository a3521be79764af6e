"""How a folder of somebody's own images is to be read; imports nothing heavy."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipelines.base.errors import ArgumentError, UserError, argument, check_flags, flags_of
from pipelines.base.labels import IGNORE
from pipelines.base.numeric import check_integer, is_number
from pipelines.building.folders import Naming, composed
from pipelines.building.regions import PaintOrder

# Of what `parse_colour` takes, and of colours with a part beyond 255.
COLOUR = r"(?:#[0-9a-fA-F]{6}|\d{1,3}(?:(?:\s*[,;]\s*|\s+)\d{1,3}){2})"


@dataclass(frozen=True)
class FolderOptions:
    """Options of `python -m pipelines.prepare image_folder/NAME`."""

    # === Files ===
    label_suffix: str = ""
    """What a mask's name has after its image's: `_mask` pairs a.jpg and a_mask.png."""
    image_suffix: str = ""
    """What an image's name has besides: `_leftImg8bit`."""
    label_prefix: str = ""
    """What a mask's name has before its image's: `mask_` pairs a.jpg and mask_a.png."""
    image_prefix: str = ""
    """What an image's name has besides, at its beginning: `image_`."""
    label_folder: str = ""
    """Folder of the masks below that of the data set, where it is not known by its name."""
    image_folder: str = ""
    """Folder of the images; given together with that of the masks."""

    # === Masks ===
    binary: bool = False
    """Whether masks are black and white: class 0 and class 1."""
    void: tuple[str, ...] = ()
    """Values, those of classes, too, or colours as `#rrggbb` or `r,g,b`, that are void."""
    map: tuple[str, ...] = ()
    """VALUE=CLASS …: the class of each value in the masks; other values are errors."""
    first_label: int = 0
    """The first class's value in the masks, those of tfds:NAME, too; lower values are void."""
    nearest_colour: bool = False
    """Whether a colour that no class has counts as the nearest that one has."""

    # === Annotation files ===
    rename: tuple[str, ...] = ()
    """OLD=NEW …: the class that regions of another name are of; `void` leaves their pixels out."""
    paint_order: PaintOrder = "file"
    """Region on top where annotated ones overlap: the later one in the file, the smaller one, or
    that of the later class."""

    # === Splits ===
    val_share: float | None = None
    """Share of the images that is held out as val, where there is none; None: a tenth."""
    group: str | None = None
    """Regular expression; images whose ids match it, or its first group, in the same text stay in
    one split."""
    folds: int | None = None
    """Number of parts for cross-validation."""
    fold: int | None = None
    """The part, from 1, that is val."""

    def check(self) -> None:
        """Raises ArgumentError for values that are invalid, alone or together."""
        check_flags(**flags_of(self))
        names = [field.name for field in dataclasses.fields(Naming)]
        for name in names if self.group is None else [*names, "group"]:
            if not isinstance(getattr(self, name), str):
                raise ArgumentError(name, f"must be a string, got {getattr(self, name)!r}")
        examples = {
            "void": "('0', '#ffffff')", "map": "('7=0', '8=1')", "rename": "('bus=car',)",
        }  # fmt: skip
        for name, example in examples.items():
            entries = getattr(self, name)
            if not isinstance(entries, tuple | list) or not all(
                isinstance(entry, str) for entry in entries
            ):
                raise ArgumentError(name, f"must be strings, as in {example}, got {entries!r}")
        if self.paint_order not in get_args(PaintOrder):
            raise ArgumentError(
                "paint_order",
                f"must be 'file', 'largest-first' or 'classes', got {self.paint_order!r}",
            )
        self.new_names()
        void_values, _ = self.void_values()
        if twice := void_values & self.value_map().keys():
            raise ArgumentError(
                "map",
                f"and {argument('void')} both name the value {min(twice)}: leave it out of one of "
                "them",
            )
        if self.binary and void_values:
            value = min(void_values)
            raise ArgumentError(
                "void",
                f"takes colours next to {argument('binary')}, got {value}: write it as "
                f"{value},{value},{value}",
            )
        if bool(self.image_folder) != bool(self.label_folder):
            raise ArgumentError(
                "image_folder", f"and {argument('label_folder')} go together: give both"
            )
        check_integer("first_label", self.first_label, 0, IGNORE - 1)
        if self.map and self.first_label:
            raise ArgumentError(
                "map", f"excludes {argument('first_label')}: both say what a value stands for"
            )
        if self.binary and (self.map or self.first_label):
            raise ArgumentError(
                "binary",
                f"excludes {argument('map')} and {argument('first_label')}: black is class 0 and "
                "white class 1",
            )
        share = self.val_share
        if share is not None and not (is_number(share) and 0 < share < 1):
            raise ArgumentError("val_share", f"must be between 0 and 1, got {share!r}")
        if (self.folds is None) != (self.fold is None):
            raise ArgumentError(
                "folds",
                f"and {argument('fold')} go together, as in {argument('folds')} 5 "
                f"{argument('fold')} 2",
            )
        if self.folds is not None and self.fold is not None:
            check_integer("folds", self.folds, 2)
            check_integer("fold", self.fold, 1, self.folds)
            if self.val_share is not None:
                raise ArgumentError(
                    "val_share", f"excludes {argument('folds')}: a fold is what is held out"
                )
        try:
            re.compile(self.group or "")
        except re.error as error:
            raise ArgumentError(
                "group", f"{self.group!r} is no regular expression: {error}"
            ) from error

    def check_for_annotations(self, file: Path) -> None:
        """Raises UserError for options that mean nothing for annotation files, such as `file`."""
        names = [field.name for field in dataclasses.fields(Naming)]
        given = self.given(*names, "binary", "void", "map", "first_label", "nearest_colour")
        if given:
            verb = "are" if " and " in given else "is"
            raise UserError(
                f"{given} {verb} for masks, and there are annotation files, such as {file}"
            )

    def check_for_masks(self) -> None:
        """Raises UserError for options that mean nothing for masks."""
        if given := self.given("rename", "paint_order"):
            verb = "are" if " and " in given else "is"
            raise UserError(f"{given} {verb} for annotation files, and there are masks")

    def naming(self) -> Naming:
        """How images and masks are called."""
        return Naming(
            composed(self.image_suffix),
            composed(self.label_suffix),
            composed(self.image_prefix),
            composed(self.label_prefix),
            self.image_folder,
            self.label_folder,
        )

    def given(self, *names: str) -> str:
        """Those of some options that are not at their defaults, as marked names: "void and map"."""
        default = type(self)()
        return " and ".join(
            argument(name) for name in names if getattr(self, name) != getattr(default, name)
        )

    def of_values(self) -> str:
        """Those that are given and say what values stand for: "void 2 and map"."""
        values = [entry for entry in self.void if parse_colour(entry) is None]
        return _joined("void", values, self.given("map", "first_label"))

    def of_colours(self) -> str:
        """Those that are given and say what colours stand for: "void #ffffff"."""
        colours = [entry for entry in self.void if parse_colour(entry) is not None]
        return _joined("void", colours, self.given("nearest_colour"))

    def void_values(self) -> tuple[set[int], set[int]]:
        """The values and the colours (as 0xRRGGBB) that are void besides 255.

        Raises:
            ArgumentError: an entry of `void` is neither.
        """
        values, colours = set(), set()
        for entry in self.void:
            colour = parse_colour(entry)
            if colour is not None:
                colours.add(colour)
            elif re.fullmatch(r"\d{1,3}", entry) and int(entry) <= IGNORE:
                values.add(int(entry))
            else:
                raise ArgumentError(
                    "void", f"takes values 0…255 and colours #rrggbb or r,g,b, got {entry!r}"
                )
        return values, colours

    def value_map(self) -> dict[int, int]:
        """The class of each value that `map` names.

        Raises:
            ArgumentError: an entry is not "VALUE=CLASS", or a value has two classes.
        """
        classes: dict[int, int] = {}
        for entry in self.map:
            match = re.fullmatch(r"(\d+)=(\d+)", entry)
            if not match or int(match[1]) > IGNORE or int(match[2]) >= IGNORE:
                raise ArgumentError("map", f"takes VALUE=CLASS, such as 7=0, got {entry!r}")
            value, label = int(match[1]), int(match[2])
            if classes.setdefault(value, label) != label:
                raise ArgumentError("map", f"gives value {value} to two classes")
        return classes

    def new_names(self) -> dict[str, str]:
        """The new name of each class that `rename` names.

        Raises:
            ArgumentError: an entry is not "OLD=NEW", or a class has two new names.
        """
        names: dict[str, str] = {}
        for entry in self.rename:
            old, _, new = (part.strip() for part in composed(entry).partition("="))
            if not (old and new):
                raise ArgumentError("rename", f"takes OLD=NEW, such as bus=car, got {entry!r}")
            if names.setdefault(old, new) != new:
                raise ArgumentError("rename", f"calls {old!r} both {names[old]!r} and {new!r}")
        return names


def _joined(name: str, entries: list[str], others: str) -> str:
    own = f"{argument(name)} {' '.join(entries)}" if entries else ""
    return " and ".join(filter(None, (own, others)))


def parse_colour(text: str) -> int | None:
    """0xRRGGBB of "#804080", "128,64,128", "128;64;128" or "128 64 128"; None otherwise."""
    if not re.fullmatch(COLOUR, text):
        return None
    if text.startswith("#"):
        return int(text[1:], 16)
    red, green, blue = map(int, re.findall(r"\d+", text))
    return red << 16 | green << 8 | blue if max(red, green, blue) <= 255 else None
