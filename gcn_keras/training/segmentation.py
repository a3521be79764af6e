"""What training does for a segmentation model."""

import functools

import keras
import numpy as np

from gcn_keras.evaluation.measure import evaluate_model
from gcn_keras.inference.keras_model import load_any_model, load_model, segment
from gcn_keras.inference.legend import Legend
from gcn_keras.models.costs import p5_weights
from gcn_keras.models.gcn import gcn
from gcn_keras.models.layer_names import is_in_head
from gcn_keras.plots.samples import samples_figure
from gcn_keras.plots.style import save_figure
from gcn_keras.recipes.recipe import Recipe
from gcn_keras.training import losses
from gcn_keras.training.devices import Team
from gcn_keras.training.loop import Loop
from gcn_keras.training.run import Task, _export, metrics_of_run
from gcn_keras.training.run_folder import RunFolder
from gcn_keras.training.validation import evaluate_in_team, predictor
from pipelines import datasets
from pipelines.base.errors import UserError
from pipelines.stream import segmentation

SAMPLES = 6


def make_loop(model, recipe: Recipe, dataset, steps: int, run: RunFolder, team: Team) -> Loop:
    """The loop of a compiled model, with `steps` steps an epoch."""
    step = make_step(model, recipe, team)
    if recipe.backend == "jax":

        def predict(batches):
            return [segment(model, images) for images in batches]
    else:
        predict = predictor(team, model)

    def stream(start):
        batches = segmentation.training_batches(
            dataset,
            recipe.train_split,
            crop=recipe.crop,
            batch_size=recipe.batch,
            mode=recipe.mode,
            scale=recipe.scale,
            flip=recipe.flip,
            jitter=recipe.jitter,
            seed=recipe.seed,
            shuffle_mib=recipe.shuffle_mib,
            cache=recipe.cache,
            batch_part=(team.worker, team.workers),
            start=start,
            data_service=recipe.data_service,
            skip_errors=recipe.skip_errors,
            with_ids=True,
        )
        return iter(batches)

    def validate(heed):
        return evaluate_in_team(team, predict, dataset, recipe.val_split, heed)

    return Loop(
        recipe, run, model, step, stream, validate, steps, worker=team.worker, workers=team.workers
    )


def make_step(model, recipe: Recipe, team: Team):
    """The training step of a compiled model on the recipe's backend."""
    if recipe.backend == "jax":
        from gcn_keras.training.jax_step import JaxStep

        return JaxStep(model, recipe.accumulate)
    from gcn_keras.training.tensorflow_step import TensorFlowStep

    return TensorFlowStep(model, team, recipe.accumulate, recipe.jit_compile)


def _finish(recipe, run, dataset, progress, steps, started) -> dict:
    """Scores, samples and an export of the best model."""
    if not progress.best_epoch:
        raise UserError(
            f"no epoch has a mean IoU: split {recipe.val_split!r} of {recipe.dataset!r} has no "
            f"valid pixel, everything is void; the last model is {run.model}"
        )
    best = load_model(run.best)
    matrix = evaluate_model(functools.partial(segment, best), dataset, recipe.val_split)
    _draw_samples(best, dataset, recipe.val_split, run)
    metrics = {
        **matrix.summary(dataset.class_names),
        "p5_weights": p5_weights(best),
        **metrics_of_run(recipe, run, dataset, best, progress, steps, started),
    }
    run.write_json(run.metrics, metrics)
    print(matrix.table(dataset.class_names))
    if recipe.export:
        _export(recipe, run)
    return metrics


def build_model(recipe: Recipe, num_classes: int) -> keras.Model:
    """The recipe's model, with the weights that it starts from."""
    build = functools.partial(
        gcn,
        num_classes=num_classes,
        backbone=recipe.backbone,
        kernel_size=recipe.kernel_size,
        block=recipe.block,
        boundary_refinement=recipe.boundary_refinement,
        freeze_batch_norm=recipe.freeze_batch_norm,
        stack_width=recipe.stack_width,
        batch_norm_momentum=recipe.batch_norm_momentum,
    )
    return with_weights(build, recipe.weights)


def with_weights(build, weights: str | None) -> keras.Model:
    """Builds a model that starts from given weights.

    Args:
        build: function from `weights`, as `backbones.build` takes them, to a model.
        weights: of a recipe.

    Raises:
        UserError: the weights do not fit, or cannot be read or downloaded.
    """
    trained_here = weights is not None and weights.endswith(".keras")
    try:
        model = build(weights=None if trained_here else weights)
    except ValueError as error:
        raise UserError(str(error)) from error
    if trained_here:
        _copy_weights(load_any_model(weights), model, weights)
    return model


def _copy_weights(source, target, path) -> None:
    """Copies every layer whose name and shapes agree; the others keep their initial weights."""
    available = {layer.name: layer for layer in source.layers if layer.weights}
    wanted = [layer for layer in target.layers if layer.weights]
    fitting = [layer for layer in wanted if _shapes(available.get(layer.name)) == _shapes(layer)]
    if all(is_in_head(layer.name) for layer in fitting):
        raise UserError(f"no layer of {path} fits this model's backbone: it has another one")
    for layer in fitting:
        layer.set_weights(available[layer.name].get_weights())
    print(f"{len(fitting)} of {len(wanted)} layers start from {path}")


def _shapes(layer) -> list[tuple] | None:
    return layer and [tuple(weights.shape) for weights in layer.weights]


def _loss(recipe: Recipe, dataset) -> losses.PixelCrossentropy:
    return losses.PixelCrossentropy(class_weights(recipe, dataset))


def class_weights(recipe: Recipe, dataset) -> np.ndarray | None:
    """Weights `[C]` for the loss, or None."""
    if recipe.class_weights == "none":
        return None
    counts = segmentation.class_pixel_counts(dataset, recipe.train_split, recipe.skip_errors)
    weights = losses.median_frequency_weights(counts)
    return np.sqrt(weights) if recipe.class_weights == "sqrt" else weights


def _draw_samples(model, dataset, split, run) -> None:
    """Images from the whole split, evenly spaced, so that they do not all look alike."""
    count = dataset.splits[split]
    chosen = set(np.linspace(0, count - 1, min(SAMPLES, count)).astype(int).tolist())
    images, labels, names = [], [], []
    for i, example in enumerate(segmentation.evaluation_examples(dataset, split)):
        if i in chosen:
            images.append(example["image"].numpy())
            labels.append(example["label"].numpy())
            names.append(example["image_id"].numpy().decode())
    predictions = segment(model, images)
    figure = samples_figure(
        images, labels, predictions, dataset.class_names, dataset.palette, names
    )
    save_figure(figure, run.samples)


SEGMENTATION = Task(
    load=lambda recipe: datasets.load(recipe.dataset, recipe.data_dir),
    build=build_model,
    loss=_loss,
    begin=lambda run, dataset: Legend.of(dataset).write(run.legend),
    make_loop=make_loop,
    finish=_finish,
)
