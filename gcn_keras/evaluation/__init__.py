"""Measuring: the confusion matrix, accuracy at boundaries, a whole split, submission files.

May import `inference` and what that may.
"""
