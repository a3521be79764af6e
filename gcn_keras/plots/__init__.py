"""Figures: what they share, curves, and samples with their predictions.

May import `pipelines.base`.
"""
