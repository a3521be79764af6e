"""Figure 2 A: what every variant of the network must do, and what the variants differ in."""

import ast
import functools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from marks import needs_tensorflow
from places import REPOSITORY
from shapes_alone import without_values

from gcn_keras import gcn
from gcn_keras.models import backbones, blocks
from gcn_keras.models.classifier import classifier
from gcn_keras.models.gcn import bilinear_kernel, upsampling_deconvolution
from pipelines.base.errors import ArgumentError

CLASSES = 5
TINY = "resnet14_tiny"  # the quickest to build and run


def pictures(height, width, batch=1, seed=0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (batch, height, width, 3)).astype(np.uint8)


def logits(model, images) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))


@functools.cache
def built(variant) -> keras.Model:
    """The model of one of the classes below. What starts at zero is random: it must not hide."""
    keras.utils.set_random_seed(7)
    model = gcn(num_classes=CLASSES, **variant.options)
    for weight in model.trainable_weights:
        if not weight.numpy().any():
            weight.assign(np.random.default_rng(0).normal(0, 0.1, weight.shape))
    return model


@pytest.fixture(scope="module", autouse=True)
def large_models_are_freed():
    yield
    built.cache_clear()


class ModelTests:
    """What holds for every variant. A subclass names the options and what to count."""

    options: dict
    stride = 32  # of P5
    refinements = 9
    doublings = 5

    @pytest.fixture
    def model(self):
        return built(type(self))

    # Odd multiples of the stride, and sides that differ.
    @pytest.mark.parametrize("rows, columns", [(1, 1), (1, 3), (3, 2)])
    def test_output_has_the_input_size(self, model, rows, columns):
        images = pictures(rows * self.stride, columns * self.stride, batch=2)
        result = logits(model, images)
        assert result.shape == (*images.shape[:3], CLASSES)
        assert result.dtype == np.float32
        assert np.isfinite(result).all() and result.std() > 0
        assert not np.array_equal(result[0], result[1])

    def test_uint8_and_float_images_are_the_same(self, model):
        images = pictures(self.stride, 2 * self.stride)
        expected = logits(model, images)
        np.testing.assert_array_equal(logits(model, images.astype(np.float32)), expected)

    def test_any_size_and_raw_images_go_in(self, model):
        assert model.input_shape == (None, None, None, 3)
        assert model.output_shape == (None, None, None, CLASSES)

    def test_layers_are_distinct_and_named_once(self, model):
        names = [layer.name for layer in model.layers]
        assert len(set(names)) == len(names)
        # A layer used twice would share its weights: each but the input is called exactly once.
        calls = {x["name"]: len(x["inbound_nodes"]) for x in model.get_config()["layers"]}
        assert calls == {**dict.fromkeys(names, 1), "image": 0}
        assert len({id(weight) for weight in model.weights}) == len(model.weights)

    def test_figure_2_counts(self, model):
        sums = [
            layer.name
            for layer in model.layers
            if isinstance(layer, keras.layers.Add) and layer.name.startswith("br_")
        ]
        assert all(name.endswith("_sum") for name in sums)
        assert len(sums) == self.refinements
        deconvolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2DTranspose)]
        assert len(deconvolutions) == self.doublings
        for layer in deconvolutions:
            assert layer.kernel_size == (4, 4) and layer.strides == (2, 2)
            kernel, bias = layer.get_weights()
            np.testing.assert_array_equal(kernel, bilinear_kernel(CLASSES))
        assert not any(isinstance(layer, keras.layers.UpSampling2D) for layer in model.layers)

    @pytest.mark.slow
    def test_loads_in_plain_keras(self, reloaded, model):
        result, expected = reloaded[type(self).__name__], logits(model, reloaded["images"])
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


class TestGCN(ModelTests):
    options = dict(backbone=TINY, kernel_size=(3, 5, 7, 9))

    def test_each_level_has_its_kernel_size(self, model):
        for level, k in zip(("p2", "p3", "p4", "p5"), (3, 5, 7, 9), strict=True):
            sizes = {
                name: model.get_layer(f"gcn_{level}_{name}").kernel_size
                for name in ("left_1", "left_2", "right_1", "right_2")
            }
            assert sizes == {
                "left_1": (k, 1),
                "left_2": (1, k),
                "right_1": (1, k),
                "right_2": (k, 1),
            }

    def test_score_maps_go_the_way_of_figure_2(self, model):
        """The way from coarse to fine: what goes into each layer."""
        sources = {
            layer.name: [x._keras_history.operation.name for x in _inputs(layer)]
            for layer in model.layers
            if layer.name.startswith(("deconv", "fuse")) or layer.name == "logits"
        }
        assert sources == {
            "deconv_p4": ["br_p5_sum"],
            "fuse_p4": ["deconv_p4", "br_p4_sum"],
            "deconv_p3": ["br_p4_sum_sum"],
            "fuse_p3": ["deconv_p3", "br_p3_sum"],
            "deconv_p2": ["br_p3_sum_sum"],
            "fuse_p2": ["deconv_p2", "br_p2_sum"],
            "deconv_up1": ["br_p2_sum_sum"],
            "deconv_up2": ["br_up1_sum"],
            "logits": ["br_up2_sum"],
        }


class TestWithoutRefinement(ModelTests):
    options = dict(backbone=TINY, kernel_size=3, boundary_refinement=False)
    refinements = 0


class TestBaseline(ModelTests):
    options = dict(backbone="resnet18_slim", block="conv1x1", boundary_refinement=False)
    refinements = 0

    def test_kernel_size_does_not_matter(self, model):
        sizes = {model.get_layer(f"gcn_p{i}_conv").kernel_size for i in (2, 3, 4, 5)}
        assert sizes == {(1, 1)}


class TestPlainConvolution(ModelTests):
    options = dict(backbone=TINY, kernel_size=(3, 3, 5, 7), block="conv")

    def test_each_level_has_its_kernel_size(self, model):
        sizes = [model.get_layer(f"gcn_p{i}_conv").kernel_size for i in (2, 3, 4, 5)]
        assert sizes == [(3, 3), (3, 3), (5, 5), (7, 7)]


class TestStack(ModelTests):
    options = dict(backbone=TINY, kernel_size=(3, 3, 5, 7), block="stack", stack_width=8)

    def test_each_level_has_its_depth(self, model):
        for level, depth in zip((2, 3, 4, 5), (1, 1, 2, 3), strict=True):
            stack = [x for x in model.layers if x.name.startswith(f"gcn_p{level}_conv")]
            assert [x.filters for x in stack] == [8] * (depth - 1) + [CLASSES]
            assert {x.kernel_size for x in stack} == {(3, 3)}


class TestNearsighted(ModelTests):
    """P2 at half the image's resolution: one doubling is left above it."""

    options = dict(backbone="resnet_nearsighted", kernel_size=3)
    stride = 16
    refinements = 8
    doublings = 4


@needs_tensorflow
class TestKerasCV(ModelTests):
    options = dict(backbone="resnet18", kernel_size=3)


class TestWithResNet50GCN(ModelTests):
    options = dict(backbone="resnet50_gcn", kernel_size=3)


class TestResNet50(ModelTests):
    options = dict(backbone="resnet50", kernel_size=(3, 5, 7, 15))

    def test_parameters_of_the_head(self, model):
        """None shared, none missing: GCN, nine BR, five deconvolutions, with their biases."""
        n = CLASSES
        gcns = sum(
            2 * k * (channels * n + n * n) + 4 * n
            for channels, k in zip((256, 512, 1024, 2048), (3, 5, 7, 15), strict=True)
        )
        head = gcns + 9 * 2 * (9 * n * n + n) + 5 * (16 * n * n + n)
        with without_values():
            resnet = keras.applications.ResNet50(include_top=False, weights=None)
        backbone = resnet.count_params()
        normalization = model.get_layer("normalization").count_params()
        assert model.count_params() - normalization == backbone + head


VARIANTS = (
    TestGCN,
    TestWithoutRefinement,
    TestBaseline,
    TestPlainConvolution,
    TestStack,
    TestNearsighted,
    TestKerasCV,
    TestWithResNet50GCN,
    TestResNet50,
)


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory) -> dict[str, np.ndarray]:
    """What the saved models answer in a process that has imported Keras and nothing of ours."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "images.npy", pictures(64, 32))
    for variant in VARIANTS:
        built(variant).save(folder / f"{variant.__name__}.keras")
    program = """
import sys
from pathlib import Path
import keras
import numpy as np
images = np.load("images.npy")
for path in list(Path().glob("*.keras")):
    model = keras.models.load_model(path, compile=False, safe_mode=True)
    np.save(path.with_suffix(".npy"), keras.ops.convert_to_numpy(model(images, training=False)))
    path.unlink()
foreign = {name.partition(".")[0] for name in sys.modules} & {"gcn_keras", "pipelines", "keras_cv"}
assert not foreign, foreign
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = ["images", *(variant.__name__ for variant in VARIANTS)]
    return {name: np.load(folder / f"{name}.npy") for name in names}


def _inputs(layer):
    inputs = layer.input
    return inputs if isinstance(inputs, list) else [inputs]


class TestOptions:
    @pytest.mark.jax
    @pytest.mark.slow
    def test_mixed_precision_keeps_float32_logits(self):
        previous = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        try:
            model = gcn(num_classes=3, backbone="small", kernel_size=3)
        finally:
            keras.mixed_precision.set_global_policy(previous)
        assert model.get_layer("gcn_p5_left_1").compute_dtype == "bfloat16"
        assert {w.dtype for w in model.trainable_weights} == {"float32"}
        assert model.output.dtype == "float32"
        assert logits(model, pictures(32, 64)).dtype == np.float32

    @pytest.mark.jax
    @pytest.mark.slow
    def test_frozen_batch_norms_do_not_move(self):
        for frozen in (True, False):
            model = gcn(3, "small", 3, freeze_batch_norm=frozen)
            batch_norms = [
                x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)
            ]
            before = [w.numpy() for x in batch_norms for w in x.weights]
            kernel = model.get_layer("p2_block1_1_conv").kernel.numpy()
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
            model.train_on_batch(pictures(32, 32, 2), np.ones((2, 32, 32)))
            after = [w.numpy() for x in batch_norms for w in x.weights]
            moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
            assert not any(moved) if frozen else all(moved)
            assert not np.array_equal(model.get_layer("p2_block1_1_conv").kernel.numpy(), kernel)

    def test_batch_norm_momentum(self):
        for momentum, expected in ((None, 0.99), (0.9, 0.9)):
            with without_values():
                model = gcn(3, TINY, 3, batch_norm_momentum=momentum)
            found = {
                x.momentum for x in model.layers if isinstance(x, keras.layers.BatchNormalization)
            }
            assert found == {expected}

    @pytest.mark.jax
    @pytest.mark.slow
    def test_names_and_input_shape(self):
        with without_values():
            model = gcn(3, TINY, 3, input_shape=(64, 96, 3), name="mine")
            other = gcn(3, TINY, 3, block="conv")
        assert model.name == "mine"
        assert model.output_shape == (None, 64, 96, 3)
        assert other.name == f"conv_{TINY}"

    @pytest.mark.jax
    @pytest.mark.slow
    def test_numbers_may_be_of_numpy(self):
        """As `labels.max() + 1` is; what is saved of them are Python's."""
        own, others = np.int64, np.int32
        with without_values():
            model = gcn(own(4), TINY, [others(3), own(5), 7, 9], input_shape=(own(64), None, 3),
                        batch_norm_momentum=np.float32(0.5))  # fmt: skip
            same = gcn(4, TINY, (3, 5, 7, 9), input_shape=(64, None, 3), batch_norm_momentum=0.5)
            stack = gcn(3, TINY, own(5), "stack", stack_width=own(8))
            arrays = [gcn(4, TINY, sizes) for sizes in (np.array([3, 5, 7, 9]), np.array(3))]
            lists = [gcn(4, TINY, sizes) for sizes in ([3, 5, 7, 9], 3)]
        assert model.to_json() == same.to_json()
        assert [x.to_json() for x in arrays] == [x.to_json() for x in lists]
        assert stack.get_layer("gcn_p5_conv1").filters == 8

    @pytest.mark.parametrize(
        "options, message",
        [
            (dict(num_classes=True), "num_classes must be an integer in 2…255 .*received True"),
            (dict(kernel_size="15"), "kernel_size must be a positive odd integer.*received '15'"),
            (dict(kernel_size=8), "kernel_size must be a positive odd integer.*received 8"),
            (dict(kernel_size=(3, 5, 7, 0)), "kernel_size must be a positive odd.*received 0"),
            (dict(kernel_size=(3, 5)), "one for each of P2, P3, P4, P5: received 2 numbers"),
            (dict(block="gnc"), "unknown block 'gnc': choose one of gcn, conv1x1, conv, stack"),
            (dict(backbone="vgg"), "unknown backbone 'vgg': choose one of resnet50, resnet101"),
            (dict(num_classes=1), "num_classes must be an integer in 2…255 .*received 1"),
            (dict(num_classes=256), "num_classes must be an integer in 2…255 .*received 256"),
            (dict(num_classes=2.5), "num_classes must be an integer in 2…255 .*received 2.5"),
            (dict(kernel_size=7.0), "kernel_size must be a positive odd integer.*received 7.0"),
            (dict(kernel_size=np.array([3, 5])), "one for each of P2, P3, P4, P5: received 2 num"),
            (dict(kernel_size=np.array(3.0)), "kernel_size must be a positive odd.*received 3.0"),
            (dict(kernel_size=True), "kernel_size must be a positive odd integer.*received True"),
            *(
                (
                    dict(block="stack", stack_width=width),
                    f"^stack_width must be a positive integer, received {width!r}$",
                )
                for width in (0, -1, 2.5, "8")
            ),
            *(
                (
                    dict(block=block, stack_width=64),
                    f"^stack_width 64 means nothing for block {block!r}: leave it out$",
                )
                for block in ("gcn", "conv", "conv1x1")
            ),
            *(
                (
                    dict(backbone=TINY, batch_norm_momentum=momentum),
                    f"^batch_norm_momentum must be at least 0 and below 1, received {momentum!r}$",
                )
                for momentum in (1, 2.0, -0.1, math.nan, "0.9", False)
            ),
            *(
                (
                    dict(input_shape=shape),
                    f"^{re.escape(f'input_shape must be (H, W, 3), received {shape}')}$",
                )
                for shape in ((32, 32, 1), (32, 32), None, 64)
            ),
            *(
                (
                    dict(input_shape=shape),
                    "^input_shape must have sides that are positive integers or None, received "
                    f"{re.escape(str(shape))}$",
                )
                for shape in ((0, 0, 3), (-32, 32, 3), (32.0, None, 3))
            ),
            *(
                (
                    dict(backbone=backbone, input_shape=shape),
                    f"^input_shape must have sides that are multiples of {stride} or None, "
                    f"received {re.escape(str(shape))}$",
                )
                for backbone, shape, stride in (
                    ("resnet50", (50, 50, 3), 32),
                    (TINY, (48, None, 3), 32),
                    ("resnet50", (16, 16, 3), 32),
                    ("resnet_nearsighted", (None, 40, 3), 16),
                )
            ),
            (dict(backbone=[TINY]), rf"^unknown backbone \['{TINY}'\]: choose one of resnet50"),
            (
                dict(boundary_refinement="no"),
                "^boundary_refinement must be True or False, got 'no'$",
            ),
            (dict(freeze_batch_norm=[]), r"^freeze_batch_norm must be True or False, got \[\]$"),
            (dict(weights=True), '^weights must be None, "imagenet" or a path, received True$'),
            (
                dict(backbone="resnet18", weights="imagenet"),
                "no published weights for backbone 'resnet18', received weights='imagenet'",
            ),
        ],
    )
    def test_invalid_arguments(self, options, message):
        with pytest.raises(ValueError, match=message), without_values():
            gcn(**options)

    @pytest.mark.parametrize("build", [gcn, classifier])
    def test_channels_first_are_refused(self, build):
        keras.config.set_image_data_format("channels_first")
        try:
            with pytest.raises(ValueError) as caught:
                build(3, TINY)
        finally:
            keras.config.set_image_data_format("channels_last")
        assert str(caught.value) == (
            "images must have their channels last, received Keras' image_data_format "
            "'channels_first': call keras.config.set_image_data_format('channels_last')"
        )

    @pytest.mark.parametrize("backbone", ["resnet18", "resnet34"])
    def test_a_backbone_whose_package_is_missing(self, backbone, monkeypatch):
        monkeypatch.setitem(sys.modules, "keras_cv", None)
        sentence = (
            f"backbone {backbone} needs keras-cv, which is not installed: "
            'pip install "gcn_keras[keras-cv]"'
        )
        for refuse in (backbones.check_installed, lambda name: gcn(3, name)):
            with pytest.raises(ArgumentError) as caught:
                refuse(backbone)
            assert str(caught.value) == sentence

    def test_other_backbones_need_no_other_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "keras_cv", None)
        for name in set(backbones.NAMES) - {"resnet18", "resnet34"}:
            backbones.check_installed(name)


class TestDeconvolution:
    def test_doubles_bilinearly_before_training(self):
        x = keras.Input((6, 9, 2))
        model = keras.Model(x, upsampling_deconvolution(x, "up"))
        maps = np.random.default_rng(0).standard_normal((1, 6, 9, 2)).astype("float32")
        expected = keras.ops.image.resize(maps, (12, 18), interpolation="bilinear")
        # At the border resizing repeats the last pixel, a deconvolution sees zeros beyond it.
        interior = np.s_[:, 1:-1, 1:-1]
        np.testing.assert_allclose(
            logits(model, maps)[interior],
            keras.ops.convert_to_numpy(expected)[interior],
            rtol=1e-5,
            atol=1e-6,
        )

    def test_kernel(self):
        kernel = bilinear_kernel(2)
        line = np.array([1, 3, 3, 1])
        np.testing.assert_array_equal(kernel[..., 0, 0] * 16, np.outer(line, line))
        np.testing.assert_array_equal(kernel[..., 1, 1], kernel[..., 0, 0])
        assert not kernel[..., 0, 1].any() and not kernel[..., 1, 0].any()


MODELS = Path(blocks.__file__).parent
PLAIN_KERAS = ("blocks", "gcn", "classifier", "costs")
PLAIN_KERAS += tuple(f"backbones/{path.stem}" for path in MODELS.glob("backbones/*.py"))


@pytest.mark.parametrize("module", PLAIN_KERAS)
def test_no_tensorflow_import(module):
    tree = ast.parse((MODELS / f"{module}.py").read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # The pipelines read TensorFlow's files; few of their modules know nothing of it.
            whole = node.module.startswith("pipelines")
            imported.add(node.module if whole else node.module.partition(".")[0])
            if node.module == "pipelines.base":
                imported.update(f"pipelines.base.{alias.name}" for alias in node.names)
    assert "keras" in imported
    plain = {"keras", "numpy", "collections", "pathlib", "typing", "gcn_keras"}
    plain |= {"dataclasses", "functools", "importlib", "math", "numbers", "re", "warnings"}
    plain |= {"pipelines.base"}
    ours = ("damage", "errors", "extras", "imagenet", "labels", "numeric")
    plain |= {f"pipelines.base.{name}" for name in ours}
    assert imported <= plain


@pytest.mark.slow
def test_builds_on_jax_without_tensorflow():
    pytest.importorskip("jax")
    program = """
import json, sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"no {name} in this test")

sys.meta_path.insert(0, NotInstalled())
from gcn_keras.models.gcn import gcn
model = gcn(5, sys.argv[1], 3)
print(json.dumps([model.count_params(), model(__import__("numpy").zeros((1, 32, 64, 3))).shape]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, TINY],
        cwd=REPOSITORY,
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = gcn(5, TINY, 3).count_params()
    assert json.loads(done.stdout.splitlines()[-1]) == [expected, [1, 32, 64, 5]]
