"""TFDS builder of the data set `camvid`."""
