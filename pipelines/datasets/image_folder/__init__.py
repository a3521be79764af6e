"""TFDS builder of the data set `image_folder`."""
