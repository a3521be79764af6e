"""TFDS builder of the data set `cityscapes19`."""
