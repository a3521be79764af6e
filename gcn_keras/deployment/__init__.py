"""From a trained model to what is served: batch-norm folding, SavedModel, TFLite, quantisation.

May import `evaluation`, `inference`, `models`, `pipelines`; `run_export`, which is the end of a
training, also `recipes` and `training`.
"""
