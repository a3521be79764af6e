"""Backbones: the maps that each gives, and Figure 5 and Table 11 for the one with GCN inside."""

import gc
import subprocess
import sys

import keras
import numpy as np
import pytest
from marks import needs_tensorflow
from miniatures import noise
from places import REPOSITORY
from shapes_alone import without_values

from gcn_keras.models import backbones
from gcn_keras.models.layer_names import is_in_backbone


class TestBackbones:
    @pytest.fixture(autouse=True)
    def one_at_a_time(self):
        """Or all networks would be held at once."""
        yield
        gc.collect()

    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=needs_tensorflow if backbone.package else ())
            for name, backbone in backbones.BACKBONES.items()
        ],
    )
    def test_strides_and_channels_are_those_declared(self, name):
        with without_values():
            image = keras.Input((64, 128, 3))
            pyramid = backbones.build(name, image)
        assert list(pyramid) == ["P2", "P3", "P4", "P5"]
        # By their names `fit` takes layers for the backbone's, to start, to slow or to freeze them.
        layers = keras.Model(image, list(pyramid.values())).layers
        assert [
            each.name for each in layers if each.weights and not is_in_backbone(each.name)
        ] == []
        declared = backbones.BACKBONES[name]
        p2 = declared.p2_stride
        sizes = [tuple(x.shape[1:3]) for x in pyramid.values()]
        assert sizes == [(64 // (p2 * 2**i), 128 // (p2 * 2**i)) for i in range(4)]
        assert 64 // declared.p5_stride == sizes[-1][0]
        assert tuple(x.shape[-1] for x in pyramid.values()) == declared.channels

    def test_the_catalogue_needs_no_keras(self):
        program = (
            "import sys; from gcn_keras.models.backbones import BACKBONES; "
            "assert BACKBONES and not {'keras', 'tensorflow', 'numpy'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)

    @pytest.mark.jax
    @pytest.mark.slow
    def test_a_nearsighted_pixel_sees_35(self):
        x = keras.Input((128, 128, 3))
        model = keras.Model(x, backbones.build("resnet_nearsighted", x)["P5"])
        for weight in model.weights:  # all positive: no ReLU cuts anything off
            weight.assign(np.full(weight.shape, "mean" not in weight.name, "float32"))
        images = np.zeros((129, 128, 128, 3), "float32")
        images[np.arange(128), np.arange(128), np.arange(128)] = 1  # a pixel of the diagonal each
        # In parts: all at once would take a gigabyte.
        maps = [model(part, training=False) for part in np.array_split(images, 9)]
        maps = np.concatenate([keras.ops.convert_to_numpy(each)[:, 4, 4] for each in maps])
        seen = np.flatnonzero((maps[:-1] != maps[-1]).any(axis=-1))
        assert len(seen) == np.ptp(seen) + 1 == 35


def let_everything_pass(model) -> None:
    """All positive, so that no ReLU cuts anything off, and nothing comes of nothing."""
    for weight in model.weights:
        ones = weight.name in ("kernel", "gamma", "moving_variance")
        weight.assign(np.full(weight.shape, ones, "float32"))


@pytest.fixture(scope="class")
def network() -> keras.Model:
    x = keras.Input((None, None, 3))
    return keras.Model(x, list(backbones.build("resnet50_gcn", x).values()))


class TestResNet50GCN:
    """Figure 5 and Table 11."""

    @pytest.mark.jax
    @pytest.mark.slow
    def test_stem_res2_and_res3_are_those_of_resnet50(self, network):
        names = [layer.name for layer in network.layers]
        with without_values():
            theirs = keras.applications.ResNet50(include_top=False, weights=None)
        same = [x for x in theirs.layers if x.name.startswith(("conv1", "pool1", "conv2", "conv3"))]
        assert len(same) == 6 + 32 + 42 and {x.name for x in same} <= set(names)
        for layer in same:
            shapes = [w.shape for w in layer.weights]
            assert shapes == [w.shape for w in network.get_layer(layer.name).weights]

    def test_blocks_of_table_11(self, network):
        for stage, count, k, width, filters in ((4, 6, 5, 85, 1024), (5, 3, 7, 128, 2048)):
            names = {x.name for x in network.layers if x.name.startswith(f"conv{stage}_")}
            assert {name.split("_")[1] for name in names} == {
                f"block{i}" for i in range(1, count + 1)
            }
            for i in range(1, count + 1):
                block = f"conv{stage}_block{i}"
                sizes = {
                    name: network.get_layer(f"{block}_{name}_conv").kernel.shape
                    for name in ("left_2", "right_2", "3")
                }
                assert sizes == {
                    "left_2": (k, 1, width, width),
                    "right_2": (1, k, width, width),
                    "3": (1, 1, width, filters),
                }
                channels = filters // 2 if i == 1 else filters
                left, right = (network.get_layer(f"{block}_{x}_1_conv") for x in ("left", "right"))
                assert left.kernel.shape == (1, k, channels, width)
                assert right.kernel.shape == (k, 1, channels, width)
                strides = (1, 2), (2, 1)
                assert (left.strides, right.strides) == (strides if i == 1 else ((1, 1), (1, 1)))
                # Batch norm and ReLU after each of the four; the last one has no ReLU of its own.
                for name in ("left_1", "left_2", "right_1", "right_2"):
                    assert {f"{block}_{name}_bn", f"{block}_{name}_relu"} <= names
                assert f"{block}_3_bn" in names and f"{block}_3_relu" not in names
                assert (f"{block}_shortcut_conv" in names) == (i == 1)

    def test_parameters(self, network):
        def bottleneck(channels, width, filters, k):
            weights = 2 * k * (channels * width + width * width) + width * filters
            return weights + 4 * (4 * width + filters)  # batch norms

        own = bottleneck(512, 85, 1024, 5) + 512 * 1024 + 4 * 1024
        own += 5 * bottleneck(1024, 85, 1024, 5)
        own += bottleneck(1024, 128, 2048, 7) + 1024 * 2048 + 4 * 2048
        own += 2 * bottleneck(2048, 128, 2048, 7)
        with without_values():
            theirs = keras.applications.ResNet50(include_top=False, weights=None)
        shared = sum(
            x.count_params() for x in theirs.layers if not x.name.startswith(("conv4", "conv5"))
        )
        assert network.count_params() == own + shared

    def test_each_convolution_reaches_along_its_axis(self, network):
        """A point in the middle of res-4's second block: what of each map it touches."""
        names = [f"conv4_block2_{x}_relu" for x in ("left_1", "left_2", "right_1", "right_2")]
        block = keras.Model(
            network.get_layer("conv4_block1_out").output,
            [network.get_layer(name).output for name in names],
        )
        let_everything_pass(block)
        point = np.zeros((1, 15, 15, 1024), "float32")
        point[0, 7, 7] = 1
        reached = []
        for map_ in block(point, training=False):
            rows, columns = np.nonzero(keras.ops.convert_to_numpy(map_)[0].any(axis=-1))
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            assert rows.min() + rows.max() == columns.min() + columns.max() == 14
            reached.append((int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1))
        assert reached == [(1, 5), (5, 5), (5, 1), (5, 5)]

    @pytest.mark.parametrize("branch", ["left_2", "right_2"])
    def test_halving_passes_over_no_pixel(self, network, branch):
        """Each of P3's pixels reaches res-4 through both branches of its first block."""
        block = keras.Model(
            network.get_layer("conv3_block4_out").output,
            network.get_layer(f"conv4_block1_{branch}_relu").output,
        )
        let_everything_pass(block)
        points = np.zeros((64, 8, 8, 512), "float32")
        points[np.arange(64), np.arange(64) // 8, np.arange(64) % 8] = 1
        maps = keras.ops.convert_to_numpy(block(points, training=False))
        assert maps.shape == (64, 4, 4, 85)
        assert maps.any(axis=(1, 2, 3)).all()

    @pytest.mark.slow
    @pytest.mark.jax
    def test_trains(self):
        """Strides that differ along the two axes have gradients, too."""
        x = keras.Input((64, 64, 3))
        y = keras.layers.GlobalAveragePooling2D()(backbones.build("resnet50_gcn", x)["P5"])
        model = keras.Model(x, keras.layers.Dense(2)(y))
        before = model.get_layer("conv4_block1_left_1_conv").kernel.numpy()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
        images = np.stack([noise(64, 64, seed) for seed in (0, 1)]).astype("float32")
        model.train_on_batch(images, np.array([0, 1]))
        moved = np.abs(model.get_layer("conv4_block1_left_1_conv").kernel.numpy() - before)
        assert np.isfinite(moved).all() and (moved > 0).mean() > 0.9
