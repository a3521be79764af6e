"""Valid receptive fields of models of which they are known."""

import numpy as np
import pytest
from known_fields import AT, IMAGE, convolution, window

from gcn_keras.experiments.receptive_fields import valid
from gcn_keras.experiments.receptive_fields.valid import (
    patch_and_stride,
    patch_centres,
    spread,
    valid_receptive_field,
)
from pipelines.base.errors import UsageError


class TestPatches:
    def test_positions_count_from_the_point_and_touch_the_image(self):
        assert patch_centres(10, 4, 3, 3).tolist() == [1, 4, 7, 10]  # 10 covers pixel 9
        assert patch_centres(10, 0, 5, 2).tolist() == [-2, 0, 2, 4, 6, 8, 10]
        assert patch_centres(3, 1, 1, 1).tolist() == [0, 1, 2]

    def test_a_pixel_gets_the_mean_of_the_patches_that_cover_it(self):
        rows, columns = np.array([0]), np.array([0, 2])
        # Patches 3 wide around columns 0 and 2 meet in column 1.
        assert spread(np.array([[4.0, 8.0]]), rows, columns, 3, (1, 4)).tolist() == [[4, 6, 8, 8]]

    def test_default_is_a_twentieth_of_the_shorter_side(self):
        assert patch_and_stride(128, 128) == (7, 2)
        assert patch_and_stride(227, 400) == (11, 3)  # Zhou et al.
        assert patch_and_stride(1, 3) == (1, 1)
        assert patch_and_stride(128, 128, patch=21) == (21, 7)
        assert patch_and_stride(128, 128, stride=5) == (7, 5)


@pytest.mark.parametrize(
    ("height", "width", "options", "batch"),
    [
        (33, 5, {}, 3),  # padded to 64×32
        (33, 5, {"batch": 7}, 7),
        (1, 2, {}, 2),  # as many as there are positions
        (1, 2, {"draws": 2, "batch": 7}, 4),
    ],
)
def test_images_at_a_time(monkeypatch, height, width, options, batch):
    sizes = []

    def scores(model, images, at):
        sizes.append(len(images))
        return np.zeros((len(images), 2))

    monkeypatch.setattr(valid, "scores", scores)
    monkeypatch.setattr(valid, "BATCH_PIXELS", 3 * 64 * 32 + 1)
    image = IMAGE.repeat(2, axis=0)[:height, :width]
    valid_receptive_field(convolution(1), image, (0, 0), 0, patch=1, stride=1, **options)
    assert set(sizes) == {batch}


class TestValid:
    def test_a_model_that_sees_one_pixel(self):
        field = valid_receptive_field(convolution(1), IMAGE, AT, 0, patch=5, stride=1)
        # Patches centred up to 2 pixels away touch the point; they cover up to 4.
        assert ((field > 0) == window(32, 32, AT, 9)).all()
        assert field.dtype == np.float32

    def test_patches_side_by_side(self):
        field = valid_receptive_field(convolution(1), IMAGE, AT, 0, patch=5, stride=5)
        # One patch touches the point. The noise of that position moves the sum of its channels.
        rows, columns = patch_centres(32, 16, 5, 5), patch_centres(32, 12, 5, 5)
        before = rows.tolist().index(16) * len(columns) + columns.tolist().index(12)
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 256, (5, 5, 3), np.uint8) for _ in range(before + 1)][-1]
        move = abs(0.5 * noise[2, 2].sum(dtype=float) - 0.5 * IMAGE[AT].sum(dtype=float))
        assert field.tolist() == (move * window(32, 32, AT, 5)).tolist()

    def test_a_patch_reaches_over_the_border(self):
        at = (31, 0)
        field = valid_receptive_field(convolution(1), IMAGE, at, 0, patch=5, stride=1)
        assert ((field > 0) == window(32, 32, at, 9)).all()

    def test_a_convolution_is_widened_by_the_patch(self):
        field = valid_receptive_field(convolution(7), IMAGE, AT, 0, patch=3, stride=1)
        assert ((field > 0) == window(32, 32, AT, 7 + 2 * 2)).all()

    @pytest.mark.slow
    def test_batches_do_not_change_the_noise(self):
        options = {"patch": 7, "stride": 4, "draws": 2, "seed": 3}
        fields = [
            valid_receptive_field(convolution(3), IMAGE, AT, 0, batch=batch, **options)
            for batch in (1, 7, None)
        ]
        assert fields[0].tolist() == fields[1].tolist() == fields[2].tolist()
        other = valid_receptive_field(convolution(3), IMAGE, AT, 0, **{**options, "seed": 4})
        assert other.tolist() != fields[0].tolist()

    def test_the_mean_of_the_draws(self):
        options = {"patch": 3, "stride": 3}
        one = valid_receptive_field(convolution(1), IMAGE, AT, 0, **options)
        two = valid_receptive_field(convolution(1), IMAGE, AT, 0, draws=2, **options)
        rng = np.random.default_rng(0)
        count = len(patch_centres(32, 16, 3, 3)) * len(patch_centres(32, 12, 3, 3))
        place = patch_centres(32, 16, 3, 3).tolist().index(16) * len(patch_centres(32, 12, 3, 3))
        place += patch_centres(32, 12, 3, 3).tolist().index(12)
        noise = [rng.integers(0, 256, (3, 3, 3), np.uint8) for _ in range(2 * count)]
        whole = IMAGE[AT].sum(dtype=float)
        moves = [abs(noise[i][1, 1].sum(dtype=float) - whole) / 2 for i in (place, place + count)]
        assert one[AT] == moves[0] and two[AT] == np.mean(moves)

    def test_the_image_is_left_as_it_was(self):
        image = IMAGE.copy()
        valid_receptive_field(convolution(1), image, AT, 0, stride=1)
        assert (image == IMAGE).all()


class TestRefused:
    def refused(self, message: str, kind=UsageError, image=IMAGE, at=AT, index=0, **options):
        with pytest.raises(kind) as caught:
            valid_receptive_field(convolution(1), image, at, index, **options)
        assert str(caught.value) == message

    def test_options(self):
        self.refused("patch must be odd, so that it has a centre, got 4", patch=4)
        self.refused("stride must be at least 1, got 0", stride=0)
        self.refused(
            "stride must be at most the patch's side 3, so that every pixel is covered, got 4",
            patch=3,
            stride=4,
        )
        self.refused("patch must fit into the image of 32×32 pixels, got 33", patch=33)
        self.refused("draws must be at least 1, got 0", draws=0)
        self.refused("seed must be at least 0, got -1", seed=-1)
        self.refused("batch must be at least 1, got 0", batch=0)

    def test_point_and_class(self):
        message = "the point 32,0 lies outside of the image: Y must be in 0…31 and X in 0…31"
        self.refused(message, at=(32, 0))
        self.refused("the class must be in 0…1, got 2", index=2)

    def test_arrays_that_are_no_images(self):
        message = "image must be uint8 of shape [H, W, 3], received uint8 of (32, 32)"
        self.refused(message, ValueError, image=IMAGE[..., 0])
        message = "image must be uint8 of shape [H, W, 3], received float32 of (32, 32, 3)"
        self.refused(message, ValueError, image=IMAGE.astype(np.float32))
