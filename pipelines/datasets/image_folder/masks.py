"""Masks in the forms that people have: indices, palettes, colours, black and white."""

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.base.errors import UserError, argument
from pipelines.base.files import read_regular
from pipelines.base.labels import IGNORE, describe_classes
from pipelines.base.plurals import count_of, plural
from pipelines.base.samples import bits_of_samples, is_deep, is_gray
from pipelines.building import opening
from pipelines.datasets.image_folder.classes import Classes, check_first_label
from pipelines.datasets.image_folder.options import FolderOptions

WHITE_OF_16_BITS = 65535
_WHITE, _ONE = 0xFFFFFF, 0x010101
_NONE = -1


@dataclass(frozen=True, eq=False)
class MaskReader:
    """Turns the pixels of a mask into labels.

    Attributes:
        classes: of the data set.
        values: int16 `[256]`, the label of each value of a mask with one channel; -1 for none.
        colours: the label of each colour 0xRRGGBB; empty where masks hold values.
        binary: whether masks are black and white, whatever their form.
        nearest: whether other colours count as the nearest one.
    """

    classes: Classes
    values: np.ndarray
    colours: dict[int, int]
    binary: bool
    nearest: bool

    @classmethod
    def of(cls, classes: Classes, options: FolderOptions) -> "MaskReader":
        """The reader that the classes and the options ask for.

        Raises:
            UserError: they do not fit together.
        """
        count = len(classes.names)
        void_values, void_colours = options.void_values()
        if options.binary and count != 2:
            raise UserError(
                f"black and white masks have 2 classes, but classes.txt names {count}: "
                f"{describe_classes(classes.names)}"
            )
        values = np.full(256, _NONE, np.int16)
        if options.map:
            for value, label in options.value_map().items():
                if label >= count:
                    raise UserError(
                        f"{argument('map')} {value}={label} names no class: the classes are "
                        f"{describe_classes(classes.names)}"
                    )
                values[value] = label
        else:
            check_first_label(options.first_label, count)
            values[options.first_label : options.first_label + count] = np.arange(count)
            values[: options.first_label] = IGNORE
        if not options.map or IGNORE not in options.value_map():
            values[IGNORE] = IGNORE
        values[list(void_values)] = IGNORE
        colours = {colour: label for label, own in enumerate(classes.colours) for colour in own}
        if options.binary and colours and colours.keys() != {0, _WHITE}:
            raise UserError(
                f"{argument('binary')} is for black and white, and classes.txt gives the classes "
                f"other colours: leave {argument('binary')} out, or these colours"
            )
        if options.binary and not colours:
            colours = {0: 0, _WHITE: 1}
        if not colours and (given := options.of_colours()):
            raise UserError(
                f"{given} need{'' if ' and ' in given else 's'} colours: classes.txt names none, "
                f"and {argument('binary')} is not given"
            )
        if twice := void_colours & colours.keys():
            name = classes.names[colours[min(twice)]]
            raise UserError(
                f"{argument('void')} #{min(twice):06x} is the colour of the class {name!r}: leave "
                "it out, or give the class another one"
            )
        if options.binary and not options.nearest_colour:  # next to it, 1 is nearly black
            colours[_ONE] = colours[_WHITE]
        colours |= dict.fromkeys(void_colours, IGNORE)
        return cls(classes, values, colours, options.binary, options.nearest_colour)

    def check_options(self, masks: Iterable[Path], options: FolderOptions) -> None:
        """Raises UserError for options of values where all masks hold colours, or the reverse."""
        given = {False: options.of_values(), True: options.of_colours()}
        wanted = {by_colour for by_colour, names in given.items() if names}
        seen: dict[bool, Path] = {}
        for path in masks:
            if wanted <= seen.keys():
                return
            with contextlib.suppress(UserError):  # said when the mask is read
                image = opening.open_file(path)
                seen.setdefault(self.holds_colours(image), path)
        for by_colour in wanted - seen.keys() if seen else ():
            names, other = given[by_colour], seen[not by_colour]
            verb, them = ("are", "them") if " and " in names else ("is", "it")
            kinds = ("colours", "values") if by_colour else ("values", "colours")
            raise UserError(
                f"{names} {verb} for masks that hold {kinds[0]}, and all hold {kinds[1]}, such as "
                f"{other}: leave {them} out"
            )

    def holds_colours(self, image: Image.Image) -> bool:
        """Whether a mask is read by its colours: if it is black and white all are, and otherwise
        what is not gray, where classes have colours."""
        is_coloured = opening.is_jpeg(image) or not (is_gray(image) or is_deep(image))
        return self.binary or (bool(self.colours) and is_coloured)

    def read(self, path: Path, data: bytes, counts: Counter) -> np.ndarray:
        """Decodes a mask.

        A gray mask holds values. One with a palette or with three channels holds colours where
        the classes have some; otherwise a palette's indices count, and the three channels must be
        equal. One of JPEG, gray or not, holds colours: its values are no longer those of classes.

        Args:
            path: of the mask, for messages.
            data: the file's bytes.
            counts: if the mask holds colours, gets its "pixels" and "nearest", those of them that
                the nearest colour decided.

        Returns:
            uint8 `[H, W]`, labels and 255 for void.

        Raises:
            UserError: the file is damaged or no mask, or holds what is no class.
        """
        pixels = self._decode(path, data)
        if pixels.ndim == 3:
            return self._by_colour(path, pixels, counts)
        self._check_gray(path, pixels)
        labels = self.values[pixels]
        if (labels == _NONE).any():
            raise UserError(self._strays(path, pixels, labels == _NONE))
        return labels.astype(np.uint8)

    def _decode(self, path: Path, data: bytes) -> np.ndarray:
        """The pixels: uint8 values `[H, W]`, or colours `[H, W, 3]`."""
        image = opening.open_image(path, data)
        if opening.is_jpeg(image) and not self.nearest:
            colours = "" if self.colours else "give classes colours and "
            raise UserError(
                f"{path} is compressed as JPEG, which changes values: save the masks as PNG, or "
                f"{colours}use {argument('nearest_colour')}"
            )
        opening.check_one_frame(path, image, "a mask")
        holds_colours = self.holds_colours(image)
        grays = {} if holds_colours else self.grays_for_indices(path, image)
        deep, gray = is_deep(image), is_gray(image)
        with opening.naming_damage(path):
            is_scaled = gray and bits_of_samples(image) < 8
        if not deep:
            opening.check_kind(path, image)
        opening.check_intact(path, data)
        with opening.naming_damage(path):
            image = opening.upright(image)
        if deep:
            return self._deep(path, image)
        with opening.naming_damage(path):
            if holds_colours and not _is_black_alone(path, image):
                return np.array(image.convert("RGB"))
            if not gray and image.mode != "P":
                return self._equal_channels(path, np.array(image.convert("RGB")))
            values = np.array(image if image.mode == "P" else image.convert("L"))
        if grays:
            value_of = np.arange(256, dtype=np.uint8)
            value_of[[*grays]] = [*grays.values()]
            values = value_of[values]
        if is_scaled and values.any():
            # Such samples are scaled to 0…255: an index and its scaled value look the same.
            raise UserError(
                f"{path} has gray values of less than 8 bits: use {argument('binary')} if it is "
                "black and white, or save the indices with 8"
            )
        return _gray(values) if self.binary else values

    def grays_for_indices(self, path: Path, image: Image.Image) -> dict[int, int]:
        """The value of each index of a GIF whose palette holds other grays than indices, all of
        them values that masks may have: who writes a gray mask as GIF leaves unused ones out.

        Raises:
            UserError: such a palette in a file of another kind, which may mean either.
        """
        grays = opening.grays_of(path, image)
        known = all(self.values[gray] != _NONE for gray in grays.values())
        if not known or all(index == gray for index, gray in grays.items()):
            return {}
        if image.format == "GIF":
            return grays
        if grays.keys() <= {0, 1} and {*grays.values()} <= {0, IGNORE}:
            return {}  # black and white for two classes, as many programs write them
        index, gray = next((index, gray) for index, gray in grays.items() if index != gray)
        raise UserError(
            f"{path} shows index {index} in gray {gray}, and either may be the class: give the "
            "classes their colours in classes.txt, or save those numbers in gray that are meant"
        )

    def _deep(self, path: Path, image: Image.Image) -> np.ndarray:
        """Gray values of 16 or 32 bits: whole numbers that fit into 8."""
        with opening.naming_damage(path):
            pixels = np.array(image)
        if (pixels != np.rint(pixels)).any():
            raise UserError(f"{path} has values that are no whole numbers")
        if self.binary:
            pixels[pixels == WHITE_OF_16_BITS] = IGNORE
        if not 0 <= pixels.min() <= pixels.max() <= IGNORE:
            raise UserError(
                f"{path} has values from {pixels.min()} to {pixels.max()}, and those of masks are "
                f"in 0…{IGNORE}: give its classes smaller ones"
            )
        values = pixels.astype(np.uint8)
        return _gray(values) if self.binary else values

    def _check_gray(self, path: Path, pixels: np.ndarray) -> None:
        """Refuses gray values that are colours of classes, and as labels would mean others."""
        found = np.unique(pixels)
        by_colour = self._by_gray(found)
        if _NONE not in by_colour and by_colour != self.values[found].tolist():
            is_binary = self.colours.keys() == {0, _WHITE}
            take = f"give {argument('binary')}" if is_binary else "save it as RGB"
            raise UserError(
                f"{path} is gray, and its values {', '.join(map(str, found))} are colours of "
                f"classes, too: {take} if it shows colours; if it holds labels, give these "
                "classes colours that are not gray"
            )

    def _by_gray(self, values: np.ndarray) -> list[int]:
        """The label of each value as a colour, a gray."""
        return [self.colours.get(_ONE * int(value), _NONE) for value in values]

    def means_its_colours(self, path: Path) -> bool:
        """Whether a gray mask has the same labels by its values and by their colours.

        Raises:
            UserError: as in `read`.
        """
        found = np.unique(self._decode(path, read_regular(path)))
        return self._by_gray(found) == self.values[found].tolist()

    def _equal_channels(self, path: Path, pixels: np.ndarray) -> np.ndarray:
        if (pixels != pixels[..., :1]).any():
            count = len(np.unique(pixels.reshape(-1, 3), axis=0))
            raise UserError(
                f"{path} is an image with {count_of(count, 'colour')}: name the classes' colours "
                'in classes.txt, as in "road 128 64 128"'
            )
        return pixels[..., 0]

    def _strays(self, path: Path, pixels: np.ndarray, stray: np.ndarray) -> str:
        found = np.unique(pixels[stray])
        shown = ", ".join(map(str, found[:10])) + (", …" if len(found) > 10 else "")
        return (
            f"{path} has the label {plural(len(found), 'value')} {shown}, but the classes "
            f"are {describe_classes(self.classes.names)}, and {IGNORE} is void: {argument('map')}, "
            f"{argument('first_label')} and {argument('void')} say what other values stand for"
        )

    def _by_colour(self, path: Path, pixels: np.ndarray, counts: Counter) -> np.ndarray:
        packed = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        found, where = np.unique(packed, return_inverse=True)
        labels = np.array([self.colours.get(int(colour), _NONE) for colour in found], np.int16)
        is_white = self.binary and self.colours.get(_ONE) == self.colours[_WHITE]
        if is_white and {_ONE, _WHITE} <= set(found.tolist()):
            raise UserError(
                f"{path} has the values 1 and {IGNORE}, which {argument('binary')} takes for the "
                f"same: if {IGNORE} is void, leave it out and name the classes in classes.txt"
            )
        unknown = labels == _NONE
        if unknown.any():
            if not self.nearest:
                raise self._unknown(path, packed, found[unknown], _WHITE in found)
            labels[unknown] = self._nearest(found[unknown])
        counts.update(pixels=packed.size, nearest=int(unknown[where].sum()))
        return labels[where].reshape(packed.shape).astype(np.uint8)

    def _unknown(
        self, path: Path, packed: np.ndarray, colours: np.ndarray, has_white: bool
    ) -> UserError:
        stray = np.isin(packed, colours)
        row, column = np.argwhere(stray)[0]
        colour = f"#{packed[row, column]:06x}"
        others = f" and {len(colours) - 1} more" if len(colours) > 1 else ""
        ways = [
            "give it to a class in classes.txt",
            f"to {argument('void')} '{colour}'",
            f"use {argument('nearest_colour')} for masks with soft edges or from JPEG files",
        ]
        if self.binary:  # which has its classes' colours by definition
            ways[0] = f"leave {argument('binary')} out if it is a class's"
            ways[1] = f"give it {ways[1]} if it is none's"
            if len(colours) == 1 and not has_white:
                del ways[1:]  # it takes the place of white
        return UserError(
            f"{path} has the colour {colour}{others} that no class has (the first at x = {column}, "
            f"y = {row}; {_percent(stray)} of its pixels): {', or '.join(ways)}"
        )

    def _nearest(self, colours: np.ndarray) -> list[int]:
        """The label of the class colour that is nearest in RGB; the first of equals."""
        known = np.array(list(self.colours), np.int32)
        apart = [(colours[:, None] >> bits & 255) - (known >> bits & 255) for bits in (16, 8, 0)]
        owners = list(self.colours.values())
        return [owners[index] for index in np.square(apart).sum(axis=0).argmin(axis=1)]


def _gray(values: np.ndarray) -> np.ndarray:
    """Values `[H, W]` as colours `[H, W, 3]`."""
    return np.repeat(values[..., None], 3, axis=2)


def _is_black_alone(path: Path, image: Image.Image) -> bool:
    """Whether a palette shows nothing but black for several indices: it tells nothing, then.

    Programs that write indices put in such ones.
    """
    palette = opening.palette_of(path, image)
    return palette is not None and not palette.any() and bool(np.array(image).any())


def _percent(mask: np.ndarray) -> str:
    share = 100 * mask.mean()
    return f"{share:.1f} %" if share >= 0.1 else "less than 0.1 %"
