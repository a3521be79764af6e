"""TFDS builder of the data set `coco_voc`."""
