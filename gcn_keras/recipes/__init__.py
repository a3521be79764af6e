"""Recipes: what a training run depends on, the named ones, their checks, their command line.

Nothing heavy is imported. May import what is known of backbones (`models.backbones`), `pipelines`.
"""
