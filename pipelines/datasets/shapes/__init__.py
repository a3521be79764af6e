"""TFDS builder of the data set `shapes`."""
