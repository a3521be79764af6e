"""Where a layer stands in Figure 2, by its name. No other module takes names apart.

Backbones and `gcn` name their layers so; checkpoints and `.keras` files depend on these names.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import keras

BACKBONE, GCN = "backbone", "GCN"
NORMALIZATION = "normalization"  # of a raw image, before a backbone


class Place(NamedTuple):
    """The place of a layer.

    Attributes:
        level: "stem", "res-2" … "res-5" in the backbone; above it "P2" … "P5", "up 1", "up 2".
        block: `BACKBONE`; `GCN` for what makes a score map, whichever block that is; "BR",
            "deconvolution to", "deconvolution", "sum", "BR sum".
        part: what the name says beyond that: "left_1", "conv2"; empty for a block of one layer.
    """

    level: str
    block: str
    part: str = ""


def _places() -> dict[str, Place]:
    """Beginnings of names, in the order of the figure."""
    stem = Place("stem", BACKBONE)
    places = {NORMALIZATION: stem, "conv1_": stem, "pool1_": stem, "stem": stem}
    for i in (2, 3, 4, 5):  # keras.applications, our own, keras-cv
        stage = Place(f"res-{i}", BACKBONE)
        places |= dict.fromkeys((f"conv{i}_", f"p{i}_", f"v2_stack_{i - 2}_"), stage)
    for i in (2, 3, 4, 5):
        places |= {f"gcn_p{i}_": Place(f"P{i}", GCN), f"br_p{i}_": Place(f"P{i}", "BR")}
    for i in (4, 3, 2):
        level = f"P{i}"
        places |= {
            f"deconv_p{i}": Place(level, "deconvolution to"),
            f"fuse_p{i}": Place(level, "sum"),
            f"br_p{i}_sum_": Place(level, "BR sum"),
        }
    for i in (1, 2):
        level = f"up {i}"
        places |= {f"deconv_up{i}": Place(level, "deconvolution"), f"br_up{i}_": Place(level, "BR")}
    return places


_PLACES = _places()
FIGURE = tuple(dict.fromkeys(_PLACES.values()))  # every block once, in the order of the figure


def block_of(layer_name: str) -> Place | None:
    """The place of a layer; None for one of another name, such as "logits"."""
    # The longer beginning counts: `br_p4_sum_conv1` refines the sum, `br_p4_conv1` P4.
    beginning = max(filter(layer_name.startswith, _PLACES), key=len, default=None)
    if beginning is None:
        return None
    return _PLACES[beginning]._replace(part=layer_name.removeprefix(beginning))


def block_of_operation(name: str) -> Place | None:
    """The place of the layer that an operation or a tensor of a graph is of, by its scopes, such as
    "gcn/br_up1_relu_1/Relu;gcn/br_up1_conv1_1/convolution"; None where none is a layer's name."""
    # Keras numbers the scope of a layer once more.
    scopes = (re.sub(r"_\d+$", "", scope) for scope in re.split("[/;]", name))
    return next((place for scope in scopes if (place := block_of(scope))), None)


def is_in_head(layer_name: str) -> bool:
    """Whether a layer stands on the backbone: in a score map, or on the way up."""
    place = block_of(layer_name)
    return place is not None and place.block != BACKBONE


def is_in_backbone(layer_name: str) -> bool:
    """Whether a layer is one of the backbone's, what it does to the image first included."""
    place = block_of(layer_name)
    return place is not None and place.block == BACKBONE


def normalises(model: "keras.Model") -> bool:
    """Whether a model has the `Normalization` layer with which this project's networks begin."""
    return any(layer.name == NORMALIZATION for layer in model.layers)


def group_of(layer_name: str) -> str:
    """The first two words of a name: "conv4_block3_2_conv" is of "conv4_block3"."""
    return "_".join(layer_name.split("_")[:2])
