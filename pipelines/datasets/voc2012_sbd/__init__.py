"""TFDS builder of the data set `voc2012_sbd`."""
