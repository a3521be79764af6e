"""Data sets in, batches out: preparation as TFRecords and the input pipeline.

Knows nothing of models. Importing this package imports nothing heavy; TensorFlow comes with the
modules that build or read examples.
"""
