"""What is known of the pyramid P2…P5 of each backbone without building it.

For whoever must refuse a wrong option before Keras is imported; `models.backbones` builds them.
"""

# Stride of P2; P5's is eight times as large.
P2_STRIDES = {
    "resnet50": 4,
    "resnet101": 4,
    "resnet152": 4,
    "resnet18": 4,
    "resnet34": 4,
    "resnet50_gcn": 4,
    "resnet18_slim": 4,
    "resnet14_tiny": 4,
    "resnet_nearsighted": 2,
}
# Channels of P5, the width that the stacks of Table 4 are measured against.
P5_CHANNELS = {
    "resnet50": 2048,
    "resnet101": 2048,
    "resnet152": 2048,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50_gcn": 2048,
    "resnet18_slim": 256,
    "resnet14_tiny": 88,
    "resnet_nearsighted": 128,
}

IMAGENET_BACKBONES = ("resnet50", "resnet101", "resnet152")
