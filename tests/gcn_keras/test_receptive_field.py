"""Receptive fields of models of which they are known, and the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from places import REPOSITORY

from gcn_keras import gcn
from gcn_keras.experiments.receptive_fields.figures import receptive_field_figure
from gcn_keras.experiments.receptive_fields.maps import (
    effective_receptive_field,
    measure,
    patch_and_stride,
    patch_centres,
    predicted_class,
    recentred_mean,
    spread,
    square_side,
    valid_receptive_field,
)
from gcn_keras.inference.images import load_image, save_png
from gcn_keras.inference.legend import Legend
from gcn_keras.models import blocks
from gcn_keras.receptive_field import class_index, table
from pipelines.base.errors import UsageError, UserError
from pipelines.base.labels import voc_colour_map

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
AT = (16, 12)


def model_of(block, weight: float) -> keras.Model:
    """A model of images of any size, all of whose kernels hold one weight."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, block(image))
    model.set_weights([np.full(array.shape, weight) for array in model.get_weights()])
    return model


def convolution(k: int) -> keras.Model:
    return model_of(layers.Conv2D(2, k, padding="same"), 0.5)


def window(height: int, width: int, at, k: int) -> np.ndarray:
    """Where the k×k square around a point lies."""
    field = np.zeros((height, width), bool)
    field[max(0, at[0] - k // 2) : at[0] + k // 2 + 1, max(0, at[1] - k // 2) :] = True
    field[:, at[1] + k // 2 + 1 :] = False
    return field


class TestSquare:
    def test_a_single_pixel_is_its_own_square(self):
        field = np.zeros((5, 7))
        field[1, 2] = 3.0
        assert [square_side(field, (1, 2), share) for share in (0.5, 0.95, 1)] == [1, 1, 1]

    def test_a_uniform_map(self):
        # The squares hold 1, 9, 25, 49, 81 of 81 pixels: 50 % is 40.5, 95 % is 76.95, 30 % is 24.3.
        field = np.full((9, 9), 0.1)
        assert [square_side(field, (4, 4), share) for share in (0.3, 0.5, 0.95)] == [5, 7, 9]

    def test_a_share_that_is_met_exactly_suffices(self):
        # 25 of 81, of values that binary fractions only approximate.
        assert square_side(np.full((9, 9), 0.1), (4, 4), 25 / 81) == 5

    def test_nothing_lies_beyond_the_border(self):
        # From a corner of 5×5 the squares hold 1, 4, 9, 16, 25 of 25 pixels: 50 % is 12.5.
        assert square_side(np.ones((5, 5)), (0, 0), 0.5) == 7
        assert square_side(np.ones((5, 5)), (4, 0), 0.95) == 9

    def test_mass_off_the_centre(self):
        field = np.zeros((9, 9))
        field[4, 4], field[4, 7] = 1.0, 3.0  # three pixels to the right
        assert square_side(field, (4, 4), 0.25) == 1
        assert square_side(field, (4, 4), 0.26) == 7

    @pytest.mark.parametrize("share", [0, -0.5, 1.01])
    def test_shares_that_cannot_be_meant(self, share):
        message = f"share must be above 0 and at most 1, got {share}"
        with pytest.raises(ValueError, match=f"^{message}$"):
            square_side(np.ones((3, 3)), (1, 1), share)

    def test_an_empty_map(self):
        message = "the map is 0 everywhere: no square holds a share of it"
        with pytest.raises(ValueError, match=f"^{message}$"):
            square_side(np.zeros((3, 3)), (1, 1), 0.5)


class TestMean:
    def test_maps_are_laid_over_each_other_by_their_points(self):
        first, second = np.array([[1.0, 2.0, 3.0]]), np.array([[10.0], [20.0]])
        mean, at = recentred_mean([first, second], [(0, 1), (1, 0)])
        # The points' values 2 and 20 meet; what only one map has is its own.
        assert mean.tolist() == [[0, 10, 0], [1, 11, 3]]
        assert at == (1, 1)

    def test_one_map_is_its_own_mean(self):
        field = np.arange(6.0).reshape(2, 3)
        mean, at = recentred_mean([field], [(1, 2)])
        assert mean.tolist() == field.tolist() and at == (1, 2) and mean.dtype == np.float32


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


class TestEffective:
    @pytest.mark.parametrize("at", [AT, (0, 31)])
    def test_a_convolution_has_its_window(self, at):
        field = effective_receptive_field(convolution(5), IMAGE, at, 1)
        # Three channels of weight 0.5.
        assert field.tolist() == (1.5 * window(32, 32, at, 5)).tolist()
        assert field.dtype == np.float32
        if at == AT:
            assert square_side(field, at, 0.5) == 5  # 12.5 of 25 pixels; 3×3 holds 9

    def test_the_paper_s_block_has_the_window_of_its_kernel(self):
        model = model_of(lambda x: blocks.global_convolution(x, 2, 7, "gcn"), 0.5)
        field = effective_receptive_field(model, IMAGE, AT, 0)
        # Two branches of two channels: 2 · 2 · 0.5², in each of three channels of the image.
        assert field.tolist() == (3.0 * window(32, 32, AT, 7)).tolist()

    def test_a_image_of_any_size(self):
        field = effective_receptive_field(convolution(5), IMAGE[:30, :21], (29, 20), 1)
        assert field.tolist() == (1.5 * window(30, 21, (29, 20), 5)).tolist()

    def test_the_gradient_is_by_the_raw_pixel(self):
        image = keras.Input((None, None, 3))
        normalised = layers.Normalization(mean=[0.0] * 3, variance=[16.0] * 3)(image)
        outputs = layers.Conv2D(2, 1, kernel_initializer="ones")(normalised)
        field = effective_receptive_field(keras.Model(image, outputs), IMAGE, AT, 0)
        assert field[AT] == field.sum() == 0.75

    def test_batch_norm_uses_its_moving_statistics(self):
        image = keras.Input((None, None, 3))
        norm = layers.BatchNormalization(epsilon=0.0)
        model = keras.Model(image, layers.Conv2D(2, 1, kernel_initializer="ones")(norm(image)))
        norm.moving_variance.assign([4.0] * 3)
        field = effective_receptive_field(model, IMAGE, AT, 0)
        assert field[AT] == field.sum() == 1.5

    def test_the_predicted_class_is_the_default(self):
        model = convolution(1)
        kernel = np.zeros((1, 1, 3, 2))
        kernel[..., 0], kernel[..., 1] = -1.0, 2.0
        model.set_weights([kernel, np.zeros(2)])
        assert predicted_class(model, IMAGE, AT) == 1
        assert effective_receptive_field(model, IMAGE, AT)[AT] == 6.0
        assert effective_receptive_field(model, IMAGE, AT, 0)[AT] == 3.0


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
        self.refused("the patch must be odd, so that it has a centre, got 4", patch=4)
        self.refused("the stride of the patch must be at least 1, got 0", stride=0)
        self.refused(
            "the stride must be at most the patch's side 3, so that every pixel is covered, got 4",
            patch=3,
            stride=4,
        )
        self.refused("the patch must fit into the image of 32×32 pixels, got 33", patch=33)
        self.refused("the draws of noise must be at least 1, got 0", draws=0)
        self.refused("the seed must be at least 0, got -1", seed=-1)
        self.refused("the batch must be at least 1 image, got 0", batch=0)

    def test_point_and_class(self):
        message = "the point 32,0 lies outside of the image: Y must be in 0…31 and X in 0…31"
        self.refused(message, at=(32, 0))
        self.refused("the class must be in 0…1, got 2", index=2)

    def test_arrays_that_are_no_images(self):
        message = "image must be uint8 of shape [H, W, 3], received uint8 of (32, 32)"
        self.refused(message, ValueError, image=IMAGE[..., 0])
        message = "image must be uint8 of shape [H, W, 3], received float32 of (32, 32, 3)"
        self.refused(message, ValueError, image=IMAGE.astype(np.float32))

    def test_a_model_of_one_size(self):
        image = keras.Input((64, 64, 3))
        model = keras.Model(image, layers.Conv2D(2, 1)(image))
        message = "^the model takes images of 64×64 pixels only, and this one has 32×32$"
        with pytest.raises(UserError, match=message):
            effective_receptive_field(model, IMAGE, AT, 0)

    def test_a_score_that_does_not_depend_on_the_image(self):
        with pytest.raises(UserError) as caught:
            measure(model_of(layers.Conv2D(2, 1), 0.0), IMAGE, AT, 0, Path("a.png"), stride=1)
        assert str(caught.value) == (
            "the effective receptive field of a.png at 16,12 is 0 everywhere or not finite: "
            "the score of class 0 tells nothing there"
        )

    def test_another_backend(self, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
        with pytest.raises(UserError) as caught:
            effective_receptive_field(convolution(1), IMAGE, AT, 0)
        assert str(caught.value) == (
            "the effective receptive field takes TensorFlow's gradients, and Keras computes with "
            "jax: set KERAS_BACKEND=tensorflow"
        )


class TestClass:
    LEGEND = Legend(("ground", "sky"), voc_colour_map())

    def test_index_and_name(self):
        assert class_index("1", None, 2) == 1
        assert class_index("sky", self.LEGEND, 2) == 1

    def test_unknown(self):
        with pytest.raises(UsageError) as caught:
            class_index("tree", self.LEGEND, 2)
        message = "--class must be an index in 0…1 or one of ground, sky, got 'tree'"
        assert str(caught.value) == message
        with pytest.raises(UsageError) as caught:
            class_index("2", None, 2)
        assert str(caught.value) == (
            "--class must be an index in 0…1, got '2': there is no labels.json beside the model "
            "to look names up in"
        )


def test_table():
    sides = {"effective": {"50": 3, "95": 11}, "valid": {"50": 5, "95": 101}}
    assert table([("a.png at 1,2: sky, 0.50", sides)]).splitlines() == [
        "side in pixels of the square that holds     50%     95%",
        "a.png at 1,2: sky, 0.50",
        "  effective receptive field                   3      11",
        "  valid receptive field                       5     101",
    ]


class TestFigure:
    def fields(self) -> dict[str, np.ndarray]:
        return {"valid": 2.0 * window(32, 32, AT, 7), "effective": 1.0 * window(32, 32, (0, 0), 5)}

    def test_squares_and_numbers(self):
        figure = receptive_field_figure(IMAGE, self.fields(), AT, "photo.png", "sky")
        photo, valid, effective = figure.axes
        # 49 pixels: 50 % is 24.5, of which 5×5 holds 25; 95 % is 46.55.
        boxes = [p.get_bbox().bounds for p in valid.patches if p.get_gid() == "square"]
        assert boxes == [(9.5, 13.5, 5, 5), (8.5, 12.5, 7, 7)]
        assert [text.get_text() for text in valid.texts] == ["50%: 5 px · 95%: 7 px"]
        # Rows 0…2 lie 16, 15 and 14 above the point, with 3 of 9 pixels each.
        assert [text.get_text() for text in effective.texts] == ["50%: 31 px · 95%: 33 px"]
        assert photo.get_title("left") == "photo.png\n" and photo.texts[0].get_text() == "sky"
        assert photo.images[0].get_array().tolist() == IMAGE.tolist()

    def test_where_the_field_is_0_the_dimmed_gray_image_shows(self):
        figure = receptive_field_figure(np.full_like(IMAGE, 100), self.fields(), AT)
        shown = figure.axes[1].images[0].get_array()
        outside = ~window(32, 32, AT, 7)
        assert np.allclose(shown[outside], 100 / 255 * 0.55)
        assert np.allclose(shown[AT], [0.987, 0.991, 0.750], atol=1e-3)  # the end of magma

    def test_panels_show_squares_that_reach_over_the_image(self):
        figure = receptive_field_figure(None, {"valid": np.ones((8, 8))}, (0, 0))
        (axes,) = figure.axes
        # The 95 % square around the corner is 15 wide: from -7 to 7.
        assert axes.get_xlim() == (-8.5, 8.5) and axes.get_ylim() == (8.5, -8.5)

    def test_sizes_that_differ(self):
        with pytest.raises(ValueError, match="^fields and image must be of one size, received "):
            receptive_field_figure(IMAGE, {"valid": np.ones((8, 8))}, (0, 0))


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "gcn_keras.receptive_field", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    save_png(IMAGE, tmp_path / "photo.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "model.keras").write_bytes(b"not looked into")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["model.keras"], 2, "name at least one image or folder of images"),
        (
            ["none.keras", "photo.png"],
            1,
            "there is no model at {}/none.keras: expected a .keras file, as `fit` writes",
        ),
        (["model.keras", "none.png"], 2, "{}/none.png does not exist."),
        (
            ["model.keras", "broken.png"],
            1,
            "{}/broken.png is not an image in a format that can be read.",
        ),
        (
            ["model.keras", "photo.png", "--at", "4,32"],
            2,
            "the point 4,32 lies outside of {}/photo.png: Y must be in 0…31 and X in 0…31",
        ),
        (
            ["model.keras", "photo.png", "--at", "centre"],
            2,
            "--at takes Y,X in pixels from the top left, such as 64,80, got 'centre'",
        ),
        (
            ["model.keras", "photo.png", "--patch", "4"],
            2,
            "the patch must be odd, so that it has a centre, got 4",
        ),
        (
            ["model.keras", "photo.png", "--stride", "4"],
            2,
            "the stride must be at most the patch's side 1, so that every pixel is covered, got 4",
        ),
        (
            ["model.keras", "photo.png", "--patch", "41"],
            2,
            "the patch must fit into the image of 32×32 pixels, got 41",
        ),
        (
            ["model.keras", "photo.png", "--json", "none/x.json"],
            1,
            "--json {}/none/x.json: there is no folder {}/none",
        ),
        (
            ["model.keras", "photo.png", "copy.png", "third.png", "--at", "1,1", "--at", "2,2"],
            2,
            "give --at once for all images or once for each: there are 3 images and 2 points",
        ),
    ],
)
def test_bad_arguments(folder, arguments, status, message):
    save_png(IMAGE, folder / "copy.png")
    save_png(IMAGE, folder / "third.png")
    files = (".keras", ".png", ".json")
    done = command(*(folder / a if a.endswith(files) else a for a in arguments))
    assert done.returncode == status
    assert done.stderr == f"error: {message.replace('{}', str(folder))}\n"


@pytest.mark.slow
def test_end_to_end(folder):
    model = gcn(num_classes=2, backbone="resnet14_tiny", kernel_size=3)
    model.save(folder / "model.keras")
    Legend(("ground", "sky"), voc_colour_map()).write(folder / "labels.json")
    options = ["--patch", "9", "--stride", "9", "--json", folder / "fields.json"]
    done = command(
        folder / "model.keras", folder / "photo.png", *options,
        "--at", "16,12", "--at", "3,30", "--class", "sky", "--out", folder / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "photo-2: 100%" in done.stderr  # a bar for each point
    files = {"photo", "photo-2", "mean"}
    assert {p.name for p in (folder / "out").iterdir()} == {
        f"{name}_receptive_field.png" for name in files
    }
    assert load_image(folder / "out" / "mean_receptive_field.png").shape[2] == 3

    summary = json.loads((folder / "fields.json").read_text())
    first, second = summary["points"]
    assert first["at"] == [16, 12] and second["at"] == [3, 30]
    assert (first["class"], first["patch"], first["stride"]) == ("sky", 9, 9)
    field = effective_receptive_field(model, IMAGE, (16, 12), 1)
    assert first["effective"] == {
        "50": square_side(field, (16, 12), 0.5),
        "95": square_side(field, (16, 12), 0.95),
    }
    field = valid_receptive_field(model, IMAGE, (3, 30), 1, patch=9, stride=9)
    assert second["valid"]["95"] == square_side(field, (3, 30), 0.95)
    lines = done.stdout.splitlines()
    assert lines[0] == "side in pixels of the square that holds     50%     95%"
    assert lines[1].startswith("photo.png at 16,12: sky, logit ")
    assert lines[7] == "mean of 2 points"
    assert [int(word) for word in lines[9].split()[3:]] == list(summary["mean"]["valid"].values())
