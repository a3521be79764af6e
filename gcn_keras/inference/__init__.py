"""A model in any form behind one face: `.keras`, SavedModel, TFLite, server; images and videos.

Padding, tiles, multi-scale, the dense CRF and legends. May import `pipelines`.
"""
