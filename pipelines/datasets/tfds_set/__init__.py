"""TFDS builder of the data sets `tfds:NAME`."""
