"""Networks: the paper's blocks, backbones, Figure 2 as a whole, and what they cost.

Keras alone: no TensorFlow at module level. May import `pipelines.base`.
"""
