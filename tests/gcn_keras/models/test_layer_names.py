"""Names of layers: where in Figure 2 each stands."""

import pytest
from marks import needs_tensorflow
from shapes_alone import without_values

from gcn_keras import gcn
from gcn_keras.models.layer_names import (
    FIGURE,
    Place,
    block_of,
    block_of_operation,
    group_of,
    is_in_backbone,
    is_in_head,
)


@pytest.mark.parametrize(
    "name, place, group",
    [
        ("normalization", Place("stem", "backbone"), "normalization"),
        ("conv1_conv", Place("stem", "backbone", "conv"), "conv1_conv"),
        ("stem_1_bn", Place("stem", "backbone", "_1_bn"), "stem_1"),
        ("conv4_block3_2_conv", Place("res-4", "backbone", "block3_2_conv"), "conv4_block3"),
        ("p2_block1_out", Place("res-2", "backbone", "block1_out"), "p2_block1"),
        ("v2_stack_3_block1_add", Place("res-5", "backbone", "block1_add"), "v2_stack"),
        ("gcn_p5_left_1", Place("P5", "GCN", "left_1"), "gcn_p5"),
        ("br_p4_conv1", Place("P4", "BR", "conv1"), "br_p4"),
        ("br_p4_sum", Place("P4", "BR", "sum"), "br_p4"),  # the sum within the block
        ("br_p4_sum_conv1", Place("P4", "BR sum", "conv1"), "br_p4"),
        ("deconv_p4", Place("P4", "deconvolution to"), "deconv_p4"),
        ("fuse_p4", Place("P4", "sum"), "fuse_p4"),
        ("deconv_up1", Place("up 1", "deconvolution"), "deconv_up1"),
        ("br_up2_relu", Place("up 2", "BR", "relu"), "br_up2"),
        ("logits", None, "logits"),
        ("predictions", None, "predictions"),
    ],
)
def test_a_name(name, place, group):
    assert (block_of(name), group_of(name)) == (place, group)
    assert is_in_head(name) == (place is not None and place.block != "backbone")
    assert is_in_backbone(name) == (place is not None and place.block == "backbone")


@pytest.mark.parametrize(
    "name, place",
    [
        ("gradient_tape/gcn/deconv_p2_1/conv_transpose", Place("P2", "deconvolution to")),
        ("gcn_1/br_up1_relu_1/Relu;gcn_1/br_up1_conv1_1/conv", Place("up 1", "BR", "relu")),
        ("ArgMax", None),
        ("", None),
    ],
)
def test_the_name_of_an_operation(name, place):
    assert block_of_operation(name) == place


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    ["resnet50_gcn", pytest.param("resnet18", marks=needs_tensorflow), "resnet14_tiny"],
)
def test_every_layer_of_a_network_has_a_place(backbone):
    with without_values():
        names = [layer.name for layer in gcn(3, backbone, 3).layers]
    places = {name: block_of(name) for name in names}
    assert [name for name in names if places[name] is None] == ["image", "logits"]
    found = {place._replace(part="") for place in places.values() if place}
    assert found == set(FIGURE)
