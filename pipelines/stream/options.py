"""What can be asked of a training stream; imports nothing heavy."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipelines.base import addresses
from pipelines.base.errors import ArgumentError, argument, check_flags, flags_of
from pipelines.base.numeric import all_are, check_integer, is_integer, is_number


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """What the streams of both tasks share.

    Attributes:
        crop: height and width of the batches, pixels.
        batch_size: examples in a batch; all batches are full.
        flip: whether half of the examples are mirrored left to right.
        jitter: strength of brightness, contrast and saturation jitter, 0…1; 0 is none.
        seed: determines the stream.
        shuffle_mib: size of the shuffle buffer. It holds as many examples as fit by their
            average size; larger is better shuffled.
        cache: what spares reading records again and again. None; "memory": all of them, from the
            first epoch on, shuffled as a whole without `shuffle_mib`. Or a folder, for records on
            a slow disk or network: the record files are copied there before the stream begins, and
            anew where the original has changed; the stream is the same as without.
        batch_part: (index, count): of each batch only this part is made, `batch_size / count`
            examples. Processes that train together, and give the same seed, have between them
            exactly the batches of one process alone (with `skip_errors`: as many examples of
            each). Each reads every record and decodes its own.
        start: batches that precede the first one: the stream of a run that goes on. Their records
            are at most read; with `skip_errors` they are decoded again, as only that tells which
            are left out; with `data_service` the epoch that was broken off begins anew.
        data_service: "HOST:PORT" of a dispatcher, see `pipelines.service`.
        skip_errors: leave out examples that are damaged (or, in mode "pad", larger than the
            crop), and tell how many on standard error, that of the workers with `data_service`:
            at the first one, then once an epoch. Order and draws of all others stay as they are.
            TensorFlow gives up a record file at its first damaged record: all that follows it
            counts as damaged, too. `python -m pipelines.doctor` names what is damaged.
    """

    crop: tuple[int, int]
    batch_size: int
    flip: bool = True
    jitter: float = 0.0
    seed: int = 0
    shuffle_mib: int = 64
    cache: str | None = None
    batch_part: tuple[int, int] = (0, 1)
    start: int = 0
    data_service: str | None = None
    skip_errors: bool = False

    def check(self) -> None:
        """Checks the values, each and together.

        Raises:
            ArgumentError: one of them is invalid.
        """
        check_flags(**flags_of(self))
        if not all_are(is_integer, self.crop, 2):
            raise ArgumentError(
                "crop", f"must be two integers, height and width, got {self.crop!r}"
            )
        if min(self.crop) < 1:
            raise ArgumentError(
                "crop", f"must be height and width of at least 1 pixel, got {self.crop}"
            )
        for name, least in (("batch_size", 1), ("shuffle_mib", 1), ("start", 0)):
            check_integer(name, getattr(self, name), least)
        if not is_integer(self.seed) or not -(2**63) <= self.seed < 2**63:
            raise ArgumentError("seed", f"must be an integer of 64 bits, got {self.seed!r}")
        self._check_within("jitter", 1)
        is_path = isinstance(self.cache, str | os.PathLike) and str(self.cache)
        if self.cache is not None and (not is_path or Path(self.cache).is_file()):
            shown = str(self.cache) if is_path else self.cache
            raise ArgumentError("cache", f"must be 'memory' or a folder, got {shown!r}")
        index, count = self.batch_part if all_are(is_integer, self.batch_part, 2) else (0, 0)
        if not 0 <= index < count:
            raise ArgumentError(
                "batch_part",
                "must be integers (index, count) with index in 0…count - 1, got "
                f"{self.batch_part!r}",
            )
        if self.batch_size % count:
            raise ArgumentError(
                "batch_size", f"must be a multiple of {count} parts, got {self.batch_size}"
            )
        if self.data_service is None:
            return
        addresses.check_address(self.data_service, "data_service")
        if self.cache is not None:
            raise ArgumentError(
                "data_service",
                f"excludes {argument('cache')}: its workers read the records themselves, got "
                f"{argument('cache')} {self.cache}",
            )
        if count > 1:
            raise ArgumentError(
                "data_service",
                f"excludes {argument('batch_part')}: nobody knows which batch is whose, got "
                f"{argument('batch_part')} {self.batch_part}",
            )

    def _check_within(self, name: str, most: float) -> None:
        value = getattr(self, name)
        if not is_number(value) or not 0 <= value <= most:
            raise ArgumentError(name, f"must be in 0…{most}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class SegmentationOptions(StreamOptions):
    """What can be asked of a stream of images and label maps.

    Attributes:
        mode: "crop" cuts from images that are larger than `crop`; "pad" shows whole images,
            unscaled, and a larger one is an error that names it. Both pad smaller ones.
        scale: smallest and largest factor by which images are scaled, drawn uniformly.
        flip_vertical: whether half of the examples are turned upside down.
        rotate: largest angle in degrees, 0…180, by which examples are rotated either way.
        hue: largest shift of hues in turns of the colour circle, 0…0.5.
        sharpness: strength of blurring or sharpening, 0…1.
        erase: probability that a rectangle is covered and void.
        mix: what each second example takes from another one: "none", a rectangle ("cutmix"), or
            half of its classes ("classmix").
    """

    mode: Literal["crop", "pad"] = "crop"
    scale: tuple[float, float] = (1.0, 1.0)
    flip_vertical: bool = False
    rotate: float = 0.0
    hue: float = 0.0
    sharpness: float = 0.0
    erase: float = 0.0
    mix: Literal["none", "cutmix", "classmix"] = "none"

    def check(self) -> None:
        """Checks the values, as `StreamOptions.check` does."""
        super().check()
        if self.mode not in ("crop", "pad"):
            raise ArgumentError("mode", f"must be 'crop' or 'pad', got {self.mode!r}")
        if (
            not all_are(is_number, self.scale, 2)
            or not 0 < self.scale[0] <= self.scale[1] < math.inf
        ):
            raise ArgumentError(
                "scale",
                "must be smallest and largest factor, both positive and finite, got "
                f"{self.scale!r}",
            )
        for name, most in (("rotate", 180), ("hue", 0.5), ("sharpness", 1), ("erase", 1)):
            self._check_within(name, most)
        if self.mix not in ("none", "cutmix", "classmix"):
            raise ArgumentError("mix", f"must be none, cutmix or classmix, got {self.mix!r}")
        for other in ("data_service", "skip_errors"):
            if self.mix != "none" and getattr(self, other):
                raise ArgumentError(
                    "mix",
                    f"excludes {argument(other)}: an example is mixed with the one after it in the "
                    f"stream, got {self.mix!r}",
                )
        if self.mode == "pad" and tuple(self.scale) != (1.0, 1.0):
            raise ArgumentError(
                "scale",
                f"must be 1 and 1 with {argument('mode')} pad, which resizes nothing, got "
                f"{self.scale}",
            )


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions(StreamOptions):
    """What can be asked of a stream of images with one class each.

    Attributes:
        area: smallest and largest share of an image that a crop shows.
    """

    area: tuple[float, float] = (0.08, 1.0)

    def check(self) -> None:
        """Checks the values, as `StreamOptions.check` does."""
        super().check()
        if not all_are(is_number, self.area, 2) or not 0 < self.area[0] <= self.area[1] <= 1:
            raise ArgumentError(
                "area",
                f"must be smallest and largest share, above 0 and up to 1, got {self.area!r}",
            )
