"""Parameters and multiply-adds, counted by hand."""

import keras
import pytest
from marks import needs_tensorflow
from shapes_alone import without_values

from gcn_keras import gcn
from gcn_keras.models import backbones
from gcn_keras.models.costs import blocks, multiply_adds, p5_weights


@pytest.fixture(autouse=True, scope="module")
def shapes_alone():
    """Costs follow from shapes."""
    with without_values():
        yield


@pytest.mark.parametrize(
    "layer, expected",
    [
        # 8×10 positions, each 3·3·6 weights for each of 5 channels.
        (keras.layers.Conv2D(5, 3, padding="same"), 8 * 10 * 3 * 3 * 6 * 5),
        (keras.layers.Conv2D(5, 3), 6 * 8 * 3 * 3 * 6 * 5),
        # Half as many positions along each axis; 4×5 of them.
        (keras.layers.Conv2D(5, 3, strides=2, padding="same"), 4 * 5 * 3 * 3 * 6 * 5),
        (keras.layers.Conv2D(5, (1, 7), padding="same"), 8 * 10 * 7 * 6 * 5),
        (keras.layers.Conv2D(5, (1, 7), strides=(1, 2), padding="same"), 8 * 5 * 7 * 6 * 5),
        # Each of the 6 channels out sees 2 of those in.
        (keras.layers.Conv2D(6, 3, groups=3, padding="same"), 8 * 10 * 3 * 3 * 2 * 6),
        (
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
            8 * 10 * 3 * 3 * 6 * 2,
        ),
        (keras.layers.SeparableConv2D(5, 3, padding="same"), 8 * 10 * (3 * 3 * 6 + 6 * 5)),
        # Each position of the map that comes in takes the whole kernel.
        (keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same"), 8 * 10 * 4 * 4 * 6 * 5),
        (keras.layers.Dense(5), 8 * 10 * 6 * 5),
        (keras.layers.BatchNormalization(), 0),
        (keras.layers.ReLU(), 0),
        (keras.layers.MaxPooling2D(), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_multiply_adds_of_a_layer(layer, expected):
    x = keras.Input((8, 10, 6))
    y = layer(x)
    assert multiply_adds(layer, x.shape, y.shape) == expected


def test_multiply_adds_of_a_dense_layer_on_vectors():
    x = keras.Input((6,))
    layer = keras.layers.Dense(5)
    assert multiply_adds(layer, x.shape, layer(x).shape) == 30


def test_blocks_of_figure_2():
    """Three classes, k = 3 … 9, on 64×96 pixels: P2 is 16×24, P5 2×3."""
    model = gcn(3, "resnet14_tiny", (3, 5, 7, 9))
    found = {block.name: block for block in blocks(model, 64, 96)}
    assert list(found) == [
        *("stem", "res-2", "res-3", "res-4", "res-5"),
        *("GCN P2, k = 3", "BR P2", "GCN P3, k = 5", "BR P3"),
        *("GCN P4, k = 7", "BR P4", "GCN P5, k = 9", "BR P5"),
        *("deconvolution to P4", "sum P4", "BR sum P4"),
        *("deconvolution to P3", "sum P3", "BR sum P3"),
        *("deconvolution to P2", "sum P2", "BR sum P2"),
        *("deconvolution up 1", "BR up 1", "deconvolution up 2", "BR up 2"),
    ]
    stem = found["stem"]
    assert (stem.in_backbone, stem.output) == (True, (16, 24, 32))
    assert stem.multiply_adds == 32 * 48 * 9 * 3 * 16 + 16 * 24 * 9 * 16 * 32
    assert stem.parameters == 9 * 3 * 16 + 4 * 16 + 9 * 16 * 32 + 4 * 32
    assert found["res-5"].output == (2, 3, 88)
    p5 = found["GCN P5, k = 9"]
    assert (p5.in_backbone, p5.output) == (False, (2, 3, 3))
    assert p5.multiply_adds == 2 * 3 * 2 * 9 * (88 * 3 + 3 * 3)
    assert p5.parameters == 2 * 9 * (88 * 3 + 3 * 3) + 4 * 3
    for name, positions in (("BR P4", 4 * 6), ("BR sum P4", 4 * 6), ("BR up 2", 64 * 96)):
        assert found[name].multiply_adds == positions * 2 * 9 * 3 * 3
        assert found[name].parameters == 2 * (9 * 3 * 3 + 3)
    # P5's 2×3 positions go up to 4×6.
    deconvolution = found["deconvolution to P4"]
    assert deconvolution.output == (4, 6, 3)
    assert deconvolution.multiply_adds == 2 * 3 * 16 * 3 * 3
    assert deconvolution.parameters == 16 * 3 * 3 + 3
    assert found["sum P4"][2:] == ((4, 6, 3), 0, 0)
    assert sum(block.parameters for block in found.values()) == model.count_params()


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param("resnet18", marks=needs_tensorflow),
        "resnet18_slim",
        "resnet_nearsighted",
    ],
)
def test_every_backbone_is_told_apart(backbone):
    model = gcn(3, backbone, 3, boundary_refinement=False)
    found = blocks(model, 64, 64)
    names = [block.name for block in found if block.in_backbone]
    assert names == ["stem", "res-2", "res-3", "res-4", "res-5"]
    others = [block.name for block in found if not block.in_backbone]
    assert all(name.startswith(("GCN P", "sum P", "deconvolution ")) for name in others)
    assert sum(block.parameters for block in found) == model.count_params()


@pytest.mark.parametrize(
    "options, name",
    [
        (dict(kernel_size=1), "GCN P5, k = 1"),
        (dict(block="conv1x1"), "1×1 P5"),
        (dict(block="conv", kernel_size=5), "5×5 P5"),
        (dict(block="stack", kernel_size=7, stack_width=4), "3 × 3×3 P5"),
    ],
)
def test_blocks_have_names_of_their_own(options, name):
    found = blocks(gcn(3, "resnet14_tiny", **options), 64, 64)
    (score_map,) = [block.name for block in found if " P5" in block.name and "BR" not in block.name]
    assert score_map == name


def test_other_layers_come_last():
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(4, 1, name="stem_conv")(x)
    y = keras.layers.GlobalAveragePooling2D(name="pool")(y)
    model = keras.Model(x, keras.layers.Dense(7, name="predictions")(y))
    assert [tuple(block) for block in blocks(model, 5, 6)] == [
        ("stem", True, (5, 6, 4), 16, 5 * 6 * 12),
        ("predictions", False, (7,), 35, 28),
    ]


def test_operations_between_layers():
    x = keras.Input((None, None, 3))
    y = keras.layers.Conv2D(4, 3, padding="same", name="first")(x)
    y = keras.ops.relu(y) + y * 2
    model = keras.Model(x, keras.layers.Conv2D(2, 1, name="last")(y))
    assert [tuple(block) for block in blocks(model, 5, 6)] == [
        ("first", False, (5, 6, 4), 3 * 3 * 3 * 4 + 4, 5 * 6 * 108),
        ("last", False, (5, 6, 2), 4 * 2 + 2, 5 * 6 * 8),
    ]


def test_a_layer_that_is_called_twice():
    """Its weights count once, its products each time."""
    x = keras.Input((None, None, 3))
    layer = keras.layers.Conv2D(3, 3, strides=2, padding="same", name="twice")
    [block] = blocks(keras.Model(x, layer(layer(x))), 8, 12)
    assert tuple(block) == ("twice", False, (2, 3, 3), 84, (4 * 6 + 2 * 3) * 81)


def test_a_sequential_model():
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 1, name="one")])
    assert [tuple(block) for block in blocks(model, 5, 6)] == [
        ("one", False, (5, 6, 4), 16, 5 * 6 * 12)
    ]


def test_a_model_of_models():
    """Each is a block, called twice or not; what is within it counts."""
    x = keras.Input((None, None, 3))
    innermost = keras.Sequential([keras.layers.Conv2D(3, 1)], name="innermost")
    y = keras.Input((None, None, 3))
    z = keras.layers.Conv2D(3, 3, strides=2, padding="same")(innermost(y))
    inner = keras.Model(y, keras.layers.MaxPooling2D()(z + 1), name="inner")
    y = keras.layers.Conv2D(2, 1, name="last")(inner(inner(x)))
    assert [tuple(block) for block in blocks(keras.Model(x, y), 16, 32)] == [
        # The first call has 16×32 pixels and 8×16, the second one 4×8 and 2×4.
        ("inner", False, (1, 2, 3), 12 + 84, (16 * 32 + 4 * 8) * 9 + (8 * 16 + 2 * 4) * 81),
        ("last", False, (1, 2, 2), 8, 2 * 6),
    ]


def test_a_model_within_whose_layers_are_not_known():
    class Subclassed(keras.Model):
        def call(self, images):
            return images

    x = keras.Input((None, None, 3))
    model = keras.Model(x, Subclassed(name="kept")(x))
    with pytest.raises(ValueError, match="^kept is a model without known inputs and outputs$"):
        blocks(model, 8, 8)


@pytest.mark.jax
@pytest.mark.slow
def test_a_backbone_that_has_models_within():
    """Keras' stem of it is 4×4 from 3 to 96 channels, and 2×2 to twice as many between stages."""
    model = gcn(3, "convnext_tiny", 3)
    found = {block.name: block for block in blocks(model, 64, 64)}
    assert sum(block.parameters for block in found.values()) == model.count_params()
    # A block of C channels: depthwise 7×7, and two dense layers by way of 4·C.
    stages = ((3, 96, 16), (3, 192, 8), (9, 384, 4), (3, 768, 2))
    for level, (number, channels, side) in enumerate(stages, 2):
        pixels = side**2
        expected = number * pixels * (49 * channels + 8 * channels**2)
        expected += pixels * (4 * 4 * 3 * 96 if level == 2 else 2 * 2 * channels**2 // 2)
        assert found[f"res-{level}"].multiply_adds == expected


@pytest.fixture(scope="module")
def counts() -> dict[str, dict[str, int]]:
    """Multiply-adds of each stage at 224×224."""
    counted = {}
    for name in ("resnet50", "resnet50_gcn"):
        x = keras.Input((224, 224, 3))
        model = keras.Model(x, backbones.build(name, x)["P5"])
        counted[name] = {block.name: block.multiply_adds for block in blocks(model, 224, 224)}
    return counted


class TestResNet50GCN:
    """Table 11."""

    @pytest.mark.jax
    @pytest.mark.slow
    def test_multiply_adds_are_the_papers(self, counts):
        """3,700 M for both, within 5 %. Which count the paper made it does not tell: ours is of
        all convolutions, those of the shortcuts included, without the classifier."""
        for name, expected in (("resnet50", 3_855_925_248), ("resnet50_gcn", 3_764_673_136)):
            assert sum(counts[name].values()) == expected
            assert abs(expected - 3_700e6) < 0.05 * 3_700e6

    def test_stages_by_hand(self, counts):
        ours, keras_own = counts["resnet50_gcn"], counts["resnet50"]
        for stage in ("stem", "res-2", "res-3"):
            assert ours[stage] == keras_own[stage] > 0
        # res-4 on 14×14; its first block halves 28×28, one axis after the other.
        first = 2 * (28 * 14 * 5 * 512 * 85 + 14 * 14 * 5 * 85 * 85)
        first += 14 * 14 * (85 * 1024 + 512 * 1024)  # with the shortcut's convolution
        other = 14 * 14 * (2 * 5 * (1024 * 85 + 85 * 85) + 85 * 1024)
        assert ours["res-4"] == first + 5 * other
        first = 2 * (14 * 7 * 7 * 1024 * 128 + 7 * 7 * 7 * 128 * 128)
        first += 7 * 7 * (128 * 2048 + 1024 * 2048)
        other = 7 * 7 * (2 * 7 * (2048 * 128 + 128 * 128) + 128 * 2048)
        assert ours["res-5"] == first + 2 * other


@pytest.mark.jax
@pytest.mark.slow
def test_at_another_size():
    def total(model, height, width):
        return sum(block.multiply_adds for block in blocks(model, height, width))

    model = gcn(3, "resnet14_tiny", 3)
    small = total(model, 64, 64)
    assert total(model, 128, 192) == 6 * small  # every stride divides both
    fixed = gcn(3, "resnet14_tiny", 3, input_shape=(64, 64, 3))
    assert total(fixed, 64, 64) == small


@pytest.mark.jax
@pytest.mark.slow
def test_weights_of_p5s_block():
    """Without biases, and without the boundary refinement that follows the block."""
    model = gcn(3, "resnet14_tiny", kernel_size=5)
    # Two branches from 88 channels to 3 classes, 5×1 and then 1×5.
    assert p5_weights(model) == 2 * (5 * 88 * 3 + 5 * 3 * 3)
