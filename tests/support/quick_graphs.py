"""Graphs that TensorFlow runs as they are: optimizing one takes longer than a test's few steps.

Importing this is enough. `forks` does, as it asks JAX for the same. Tests of models, of steps and
of exports in pytest's own process, and commands in fresh ones, run optimized graphs.
"""

import tensorflow as tf

tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
