"""Breaks the code in one place after another, and asks whether the tests notice: `make mutants`.

    python tests/support/mutants.py [WORD …]

Each mutant replaces a text that occurs once in a file, in a copy of the repository, and runs the
tests that must fail then. One that survives has found a test that is missing. With words only the
mutants run whose file or tests contain one of them. Exit status 1 if one survives, or if tests
fail on the code as it is.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
COPIED = (
    "gcn_keras", "pipelines", "benchmarks", "tests", "docs", "saved_models", "pyproject.toml",
    "README.md",
)  # fmt: skip
SECONDS = 300  # a mutant that hangs for as long is noticed, too


class Mutant(NamedTuple):
    """A change that a test must notice.

    Attributes:
        file: in the repository.
        old: a text that occurs once in it.
        new: what takes its place.
        tests: of pytest, below tests/; several are separated by spaces.
    """

    file: str
    old: str
    new: str
    tests: str


BLOCKS, GCN = "gcn_keras/models/blocks.py", "gcn_keras/models/gcn.py"
LOSSES, LOOP = "gcn_keras/training/losses.py", "gcn_keras/training/loop.py"
STEP, OPTIMIZERS = "gcn_keras/training/tensorflow_step.py", "gcn_keras/training/optimizers.py"
PROVENANCE = "gcn_keras/training/provenance.py"
AVERAGES = "gcn_keras/training/weight_averages.py"
METRICS, BOUNDARIES = "gcn_keras/evaluation/metrics.py", "gcn_keras/evaluation/boundaries.py"
BOOTSTRAP = "gcn_keras/evaluation/bootstrap.py"
MULTI_SCALE = "gcn_keras/inference/multi_scale.py"
CROPS, RECORDS = "pipelines/stream/crops.py", "pipelines/stream/record_order.py"
GUARD = "gcn_keras/web/guard.py"
ARCHIVES = "pipelines/building/archives.py"

MUTANTS = (
    # === The network ===
    Mutant(
        BLOCKS, '(1, k), f"{name}_left_2")', '(k, 1), f"{name}_left_2")',
        "gcn_keras/models/test_blocks.py::TestImpulse",
    ),
    Mutant(
        BLOCKS, "([x, residual])", "([residual, residual])",
        "gcn_keras/models/test_blocks.py::test_boundary_refinement_changes_nothing_before_training",
    ),
    Mutant(
        BLOCKS, 'f"{name}_conv2", "zeros")', 'f"{name}_conv2")',
        "gcn_keras/models/test_blocks.py::test_boundary_refinement_changes_nothing_before_training",
    ),
    Mutant(
        BLOCKS, "kernel_initializer=initializer,",
        'kernel_initializer=initializer, activation="relu",',
        "gcn_keras/models/test_blocks.py::test_no_nonlinearity_inside",
    ),
    Mutant(
        BLOCKS, "((k - 3) // 2)", "((k - 1) // 2)",
        "gcn_keras/models/test_blocks.py::test_depth_and_width_of_the_stack",
    ),
    Mutant(
        GCN, "[0.25, 0.75, 0.75, 0.25]", "[0.5, 0.5, 0.5, 0.5]",
        "gcn_keras/models/test_gcn.py::TestDeconvolution",
    ),
    Mutant(
        GCN, "([score, scores[level]])", "([score, score])",
        "gcn_keras/models/test_gcn.py::TestGCN::test_score_maps_go_the_way_of_figure_2",
    ),
    Mutant(
        GCN, '"linear", dtype="float32", name="logits"', '"linear", name="logits"',
        "gcn_keras/models/test_gcn.py::TestOptions::test_mixed_precision_keeps_float32_logits",
    ),
    Mutant(
        "gcn_keras/deployment/batch_norm_folding.py",
        'numbers(batch_norm.moving_variance, None) + batch_norm.epsilon',
        'numbers(batch_norm.moving_variance, None)',
        "gcn_keras/deployment/test_batch_norm_folding.py::test_by_hand",
    ),
    Mutant(
        "gcn_keras/deployment/batch_norm_folding.py", "kernel.shape[2:]", "-1",
        "gcn_keras/deployment/test_batch_norm_folding.py::test_depthwise_by_hand",
    ),
    Mutant(
        "gcn_keras/deployment/xnnpack.py", "kernel[::-1, :, ::-1]", "kernel",
        "gcn_keras/deployment/test_xnnpack.py::test_one_pixel_by_hand",
    ),
    Mutant(
        "gcn_keras/deployment/xnnpack.py", "if integers and type", "if type",
        "gcn_keras/deployment/test_xnnpack.py::test_hard_swish_in_integers_alone",
    ),
    # === Training ===
    Mutant(
        LOSSES, "ignore_class=IGNORE", "ignore_class=0",
        "gcn_keras/training/test_losses.py::test_void_is_no_background",
    ),
    Mutant(
        LOSSES, "ops.sum(losses * weights)", "ops.sum(losses)",
        "gcn_keras/training/test_losses.py::test_by_hand",
    ),
    Mutant(
        "pipelines/base/labels.py", "np.median(shares[seen]) / shares[seen]",
        "shares[seen] / np.median(shares[seen])",
        "gcn_keras/training/test_losses.py::test_median_frequency_weights",
    ),
    Mutant(
        OPTIMIZERS, "POLY_POWER = 0.9", "POLY_POWER = 1.0",
        "gcn_keras/training/test_optimizers.py::TestLearningRate",
    ),
    Mutant(
        OPTIMIZERS, "self.schedule(step - self.steps)", "self.schedule(step)",
        "gcn_keras/training/test_optimizers.py::TestLearningRate",
    ),
    Mutant(
        OPTIMIZERS, "recipe.weight_decay / 2", "recipe.weight_decay",
        "gcn_keras/training/test_optimizers.py::TestWeightDecay",
    ),
    Mutant(
        OPTIMIZERS, "whole or gradients", "gradients",
        "gcn_keras/training/test_optimizers.py::TestClip",
    ),
    Mutant(
        OPTIMIZERS, "* self.factor", "* 1.0",
        "gcn_keras/training/test_optimizers.py::TestWeightDecay",
    ),
    Mutant(
        AVERAGES, "(1 + steps) / (10 + steps)", "1.0",
        "gcn_keras/training/test_weight_averages.py::test_by_hand",
    ),
    Mutant(
        AVERAGES, "variable.assign(value)", "pass",
        "gcn_keras/training/test_weight_averages.py::"
        "test_after_a_validation_that_fails_training_has_its_weights",
    ),
    Mutant(
        LOOP, "score is not None for score in later", "True for score in later",
        "gcn_keras/training/test_best_model.py::TestPatience",
    ),
    Mutant(
        STEP, "variable.assign(value)", "pass",
        "gcn_keras/training/test_tensorflow_step.py::test_a_loss_that_is_not_finite",
    ),
    Mutant(
        LOOP, "score > progress.best_score", "score >= progress.best_score",
        "gcn_keras/training/test_best_model.py::test_of_equal_scores_the_first_one_is_the_best",
    ),
    Mutant(
        LOOP, " and (progress.step < self.state.steps_per_epoch or self._validates())",
        " and progress.step < self.state.steps_per_epoch",
        "gcn_keras/training/test_loop.py::test_a_validation_that_fails_costs_nothing",
    ),
    Mutant(
        LOOP, "ended = self.any_of(self.model.stop_training)", "ended = False",
        "gcn_keras/training/test_loop_callbacks.py::TestEndedByACallback",
    ),
    Mutant(
        "gcn_keras/training/tensorboard.py", "self.steps * self.batch_size", "self.steps",
        "gcn_keras/training/test_tensorboard.py::TestRunLog",
    ),
    Mutant(
        "gcn_keras/training/first_batch.py", "start=0", "start=1",
        "gcn_keras/training/test_first_batch.py::test_it_is_that_of_the_first_step",
    ),
    Mutant(
        LOOP, "self.stream(self.state.steps_taken())", "self.stream(0)",
        "gcn_keras/training/test_loop.py::test_an_interrupted_run_ends_as_one_that_was_not",
    ),
    Mutant(
        "gcn_keras/training/checkpoints.py", "allow_pickle=False", "allow_pickle=True",
        "gcn_keras/training/test_checkpoints.py::test_pickled_objects_are_not_read",
    ),
    Mutant(
        "gcn_keras/training/checkpoints.py", "key=_step, reverse=True", "key=_step",
        "gcn_keras/training/test_checkpoints.py::test_the_newest_are_kept",
    ),
    Mutant(
        "gcn_keras/training/checkpoints.py", "if names != list(arrays):", "if False:",
        "gcn_keras/training/test_checkpoints.py::"
        "test_an_archive_that_has_lost_an_entry_is_damaged",
    ),
    Mutant(
        PROVENANCE, "if known is not None:", "if False:",
        "gcn_keras/training/test_provenance.py::test_other_classes_are_refused",
    ),
    Mutant(
        PROVENANCE, "and digest != own:", "and False:",
        "gcn_keras/training/test_provenance.py::test_other_records_are_refused_unless_accepted",
    ),
    Mutant(
        "gcn_keras/recipes/checks.py", "if recipe.accept_changes and not recipe.resume:",
        "if False:", "gcn_keras/recipes/test_recipes.py::test_values_that_cannot_be_meant",
    ),
    Mutant(
        "gcn_keras/recipes/checks.py", "accumulate checkpoint_steps keep_checkpoints", "accumulate",
        "gcn_keras/recipes/test_recipes.py::test_values_that_cannot_be_meant",
    ),
    Mutant(
        "gcn_keras/training/devices.py", "if team.workers > 1 and recipe.data_service:",
        "if False:",
        "gcn_keras/training/test_devices.py::"
        "test_workers_share_batches_that_no_service_deals_out",
    ),
    Mutant(
        "pipelines/base/locks.py", "fcntl.LOCK_EX", "fcntl.LOCK_SH",
        "pipelines/base/test_locks.py::test_one_process_at_a_time",
    ),
    Mutant(
        "gcn_keras/training/run_folder.py", "if former.get(k) != wanted.get(k)", "if False",
        "gcn_keras/training/test_run_folder.py::"
        "test_a_folder_is_taken_up_by_the_same_configuration_only",
    ),
    Mutant(
        "gcn_keras/training/task.py", "if not progress.best_epoch:", "if False:",
        "gcn_keras/training/test_task.py::test_a_run_without_any_score_has_no_best_model",
    ),
    Mutant(
        "gcn_keras/training/from_data.py", "] > MOST_IMAGES:", "] >= MOST_IMAGES:",
        "gcn_keras/training/test_from_data.py::test_sizes_are_those_of_200_images",
    ),
    # === Evaluation ===
    Mutant(
        METRICS, "total = np.nansum(iou, axis=-1)", "return np.nan_to_num(iou).mean(axis=-1)",
        "gcn_keras/evaluation/test_metrics.py::test_absent_classes_are_left_out_and_named",
    ),
    Mutant(
        METRICS, "labels != IGNORE", "labels != 0",
        "gcn_keras/evaluation/test_metrics.py::test_by_hand",
    ),
    Mutant(
        BOUNDARIES, "round(self.share", "int(self.share",
        "gcn_keras/evaluation/test_boundaries.py::test_the_width_of_contours_is_rounded",
    ),
    Mutant(
        BOUNDARIES, 'side="right"', 'side="left"',
        "gcn_keras/evaluation/test_boundaries.py::TestBands",
    ),
    Mutant(
        "gcn_keras/evaluation/submission.py", "self.values[prediction]", "prediction",
        "gcn_keras/evaluation/test_submission.py::TestFiles::test_cityscapes",
    ),
    Mutant(
        BOOTSTRAP, "scores[:, second] - scores[:, first]", "scores[:, first] - scores[:, second]",
        "gcn_keras/evaluation/test_bootstrap.py::test_interval_with_known_draws",
    ),
    Mutant(
        METRICS, "number = (~np.isnan(iou)).sum(axis=-1)", "number = np.full(iou.shape[:-1], 3)",
        "gcn_keras/evaluation/test_bootstrap.py::test_interval_with_known_draws",
    ),
    Mutant(
        "gcn_keras/evaluation/comparison.py", "difference.high < 0", "difference.value < 0",
        "gcn_keras/evaluation/test_comparison.py::test_sentences",
    ),
    # === Inference ===
    Mutant(
        MULTI_SCALE, "Image.Resampling.BILINEAR", "Image.Resampling.BICUBIC",
        "gcn_keras/inference/test_multi_scale.py::test_enlarging_is_bilinear",
    ),
    Mutant(
        MULTI_SCALE, "mean[:, ::step][down, across] +=", "mean[down, across] +=",
        "gcn_keras/inference/test_multi_scale.py::test_mirrored_views_are_mirrored_back",
    ),
    Mutant(
        "gcn_keras/inference/tiles.py", "length - tile, tile - overlap", "length - tile, tile",
        "gcn_keras/inference/test_tiles.py",
    ),
    Mutant(
        "pipelines/base/encoding.py", "subsampling=0", "subsampling=2",
        "gcn_keras/inference/test_overlays.py::TestJpeg",
    ),
    Mutant(
        "gcn_keras/inference/overlays.py", "mixed[void] = image[void]", "mixed[void] = 0",
        "gcn_keras/inference/test_overlays.py::TestOverlay",
    ),
    Mutant(
        "gcn_keras/inference/dense_crf.py", "energy = -np.log", "energy = np.log",
        "gcn_keras/test_crf.py::test_without_weights_nothing_changes",
    ),
    Mutant(
        "gcn_keras/inference/keras_model.py", "safe_mode=True", "safe_mode=False",
        "gcn_keras/inference/test_keras_model.py::test_code_in_a_model_is_refused",
    ),
    Mutant(
        "gcn_keras/inference/padding.py", "np.rint(MEAN_RGB)", "np.floor(MEAN_RGB)",
        "gcn_keras/inference/test_keras_model.py::test_padding_is_the_mean_pixel_below_and_right",
    ),
    Mutant(
        "gcn_keras/inference/images.py", "ImageOps.exif_transpose(image)", "image",
        "gcn_keras/inference/test_images.py::TestLoadImage",
    ),
    Mutant(
        "gcn_keras/inference/tflite_model.py", "bottom - y, left - x", "bottom - y, left",
        "gcn_keras/inference/test_tflite_model.py::test_tiles_are_put_together",
    ),
    Mutant(
        "gcn_keras/inference/images.py", "image.verify()", "pass",
        "gcn_keras/inference/test_images.py::TestLoadImageRefuses",
    ),
    Mutant(
        "gcn_keras/inference/encoded_images.py", "image.verify()", "pass",
        "gcn_keras/inference/test_encoded_images.py::test_no_flipped_bit_changes_a_label_map",
    ),
    Mutant(
        "pipelines/base/environment.py", "self._importing = threading.get_ident()",
        "self._importing = None",
        "pipelines/base/test_environment.py::test_a_saved_model_is_asked_without_keras",
    ),
    Mutant(
        "gcn_keras/inference/image_files.py",
        "endswith(ENDINGS) and not (is_result(path) or is_drawn)",
        "endswith(ENDINGS)",
        "gcn_keras/inference/test_image_files.py::TestFindImages::test_results_are_no_images",
    ),
    Mutant(
        "gcn_keras/inference/legend.py", "tuple(names) != tuple(others)",
        "len(names) != len(others)",
        "gcn_keras/inference/test_legend.py::test_both_lists_are_shown",
    ),
    Mutant(
        "gcn_keras/inference/padding.py", "(highest <= 1)", "(highest < 0)",
        "gcn_keras/inference/test_keras_model.py::test_what_is_no_image",
    ),
    Mutant(
        "gcn_keras/inference/video.py", "if frame.shape != first:", "if False:",
        "gcn_keras/inference/test_video.py::test_frames_that_change_their_size",
    ),
    Mutant(
        "gcn_keras/inference/video.py", "if not writer.isOpened():", "if False:",
        "gcn_keras/inference/test_video.py::test_a_video_that_opencv_does_not_take",
    ),
    Mutant(
        MULTI_SCALE, "max(1, round(scale * side))", "round(scale * side)",
        "gcn_keras/inference/test_multi_scale.py::test_a_scaled_image_has_at_least_one_pixel",
    ),
    # === The page ===
    Mutant(
        GUARD, " and upload.visitor == visitor", "",
        "gcn_keras/web/test_server.py::test_an_upload_is_the_visitors_own",
    ),
    Mutant(
        GUARD, 'match[1].strip("[]").lower() not in here', "not match[1]",
        "gcn_keras/web/test_server.py::test_only_its_own_names_are_answered",
    ),
    Mutant(
        GUARD, ' and READ.fullmatch(path)', "",
        "gcn_keras/web/test_server.py::test_nothing_else_is_read",
    ),
    Mutant(
        GUARD, "; HttpOnly; SameSite=Lax", "",
        "gcn_keras/web/test_server.py::test_a_visitor_gets_one_name_that_nobody_else_reads",
    ),
    Mutant(
        "gcn_keras/web/answers.py", "image = shrink(image, MAX_SIDE)", "pass",
        "gcn_keras/web/test_answers.py::test_large_images_are_shrunk_to_what_the_caption_says",
    ),
    Mutant(
        "gcn_keras/demo.py", 'name.count(":") == 1', '":" in name',
        "gcn_keras/test_demo.py::test_the_address_is_printed_as_browsers_take_it",
    ),
    # === Deployment ===
    Mutant(
        "gcn_keras/deployment/tflite_int8.py", "[0.0], [255.0]", "[0.0], [127.0]",
        "gcn_keras/deployment/test_tflite.py::"
        "test_pixels_go_in_as_they_are_whatever_the_images_reach",
    ),
    Mutant(
        "gcn_keras/deployment/tflite_converter.py",
        "labels = tf.slice(labels, (0, 0, 0), (1, *size))", "pass",
        "gcn_keras/deployment/test_tflite.py::test_labels_of_a_network_with_padding",
    ),
    Mutant(
        "gcn_keras/deployment/graphs.py", "[:, : shape[1], : shape[2]]", "",
        "gcn_keras/deployment/test_signatures.py::TestSignatures::test_by_hand",
    ),
    Mutant(
        "gcn_keras/deployment/graphs.py", "output_type=tf.int32), tf.uint8)",
        "output_type=tf.int32), tf.int32)",
        "gcn_keras/deployment/test_signatures.py::TestSignatures::test_what_they_take_and_give",
    ),
    Mutant(
        "gcn_keras/deployment/graphs.py", "own - sizes[axis] if own else", "0 if own else",
        "gcn_keras/deployment/test_fixed_size.py::TestFixedSize::"
        "test_smaller_images_are_padded_to_it",
    ),
    Mutant(
        "gcn_keras/models/weights.py", "inner.finalize_state()", "pass",
        "gcn_keras/models/test_weights.py::test_a_model_as_backbone_keeps_its_statistics",
    ),
    Mutant(
        "gcn_keras/inference/keras_model.py", "if ends_in_softmax(model) else logits",
        "if False else logits",
        "gcn_keras/inference/test_softmax.py::test_its_probabilities_are_what_it_gives",
    ),
    Mutant(
        "pipelines/base/files.py", "not keys <= content.keys()", "not keys & content.keys()",
        "pipelines/base/test_files.py::test_figures_over_what_are_none",
    ),
    Mutant(
        "pipelines/building/split_lists.py", "return name if taken else None", "return name",
        "pipelines/building/test_lists.py::test_lists_that_do_not_fit",
    ),
    Mutant(
        "pipelines/datasets/image_folder/survey.py", "if not reader.means_its_colours(path)",
        "if False",
        "pipelines/datasets/image_folder/test_sources.py::test_a_gray_mask_among_coloured_ones",
    ),
    Mutant(
        "gcn_keras/training/task.py", "if len(of_backbone) < needed or more:",
        "if not of_backbone:",
        "gcn_keras/training/test_run.py::TestStartingWeights::test_a_backbone_of_another_depth",
    ),
    Mutant(
        "gcn_keras/experiments/results.py", "if not text.endswith(", "if not text and not (",
        "gcn_keras/test_ablate.py::test_results_that_are_none",
    ),
    Mutant(
        "pipelines/datasets/preparation.py", "    _take_back(folder)\n", "",
        "pipelines/datasets/test_preparation.py::TestOverwriting::"
        "test_a_kill_while_it_takes_its_place_loses_nothing",
    ),
    Mutant(
        "gcn_keras/inference/keras_model.py", "logits[: len(images)]", "logits",
        "gcn_keras/inference/test_keras_model.py::"
        "test_a_batch_comes_back_once_from_several_replicas",
    ),
    Mutant(
        "pipelines/base/bfloat16.py", "and not has_gpu and", "and",
        "pipelines/base/test_bfloat16.py::test_a_gpu_computes_instead",
    ),
    Mutant(
        "gcn_keras/deployment/options.py", 'if precision != "float32" and others:', "if False:",
        "gcn_keras/deployment/test_saved_model.py::TestBfloat16::test_other_forms_are_refused",
    ),
    Mutant(
        "gcn_keras/deployment/saved_model.py", "max(versions, default=0) + 1", "1",
        "gcn_keras/deployment/test_saved_model.py::TestVersions::test_follow_each_other",
    ),
    Mutant(
        "gcn_keras/deployment/saved_model.py", "padded <= most", "padded > 0",
        "gcn_keras/deployment/test_signatures.py::TestSignatures::"
        "test_serve_bytes_within_a_limit",
    ),
    # === Streams ===
    Mutant(
        CROPS, "_uniform_integers(draws[1:3], size - shown)",
        "_uniform_integers(draws[1:3], size - size)",
        "pipelines/stream/test_crops.py::test_windows_from_given_draws",
    ),
    Mutant(
        CROPS, "for array in arrays)", "for array in arrays[:1]) + arrays[1:]",
        "pipelines/stream/test_crops.py::test_flip_mirrors_both_or_neither",
    ),
    Mutant(
        CROPS, "(2 * tf.range(out_size) + 1) * size // (2 * out_size)",
        "tf.range(out_size) * size // out_size",
        "pipelines/stream/test_crops.py::test_labels_are_resized_as_tensorflow_does_it",
    ),
    Mutant(
        CROPS, "t=image + 0.5", "t=image",
        "pipelines/stream/test_crops.py::test_rounding_and_clipping",
    ),
    Mutant(
        CROPS, "constant_values=IGNORE", "constant_values=0",
        "pipelines/stream/test_crops.py::test_padding_is_the_rounded_mean_pixel_and_void",
    ),
    Mutant(
        RECORDS, "seed=seeds[0]", "seed=1",
        "pipelines/stream/test_record_order.py::test_the_order_of_a_seed_stays_what_it_was",
    ),
    Mutant(
        RECORDS, ".enumerate(start)", ".enumerate(0)",
        "pipelines/stream/test_record_order.py::test_a_stream_that_goes_on",
    ),
    Mutant(
        RECORDS, "records.apply(tf.data.experimental.assert_cardinality(length))", "records",
        "pipelines/stream/test_damaged_records.py::test_another_number_of_records_is_an_error",
    ),
    # === Data sets ===
    Mutant(
        "pipelines/building/builder.py", "while times[unique]:", "while False:",
        "pipelines/datasets/test_tfds_set.py::test_ids_that_repeat_get_a_number",
    ),
    Mutant(
        "pipelines/base/labels.py", "classes.sum() and pixels[IGNORE]", "classes.sum() and False",
        "pipelines/datasets/test_preparation.py::"
        "test_labels_without_a_usable_class_are_refused",
    ),
    Mutant(
        "pipelines/stream/augmentation.py", "_CUT = (0.1, 0.5)", "_CUT = (0.1, 0.49)",
        "pipelines/stream/test_augmentation.py::test_the_smallest_and_the_largest_rectangles",
    ),
    Mutant(
        "pipelines/stream/augmentation.py", "math.log(3.0)", "math.log(2.0)",
        "pipelines/stream/test_augmentation.py::test_the_smallest_and_the_largest_rectangles",
    ),
    Mutant(
        "pipelines/service.py", "except RuntimeError as", "except OSError as",
        "pipelines/test_service.py::test_a_port_that_is_taken_meanwhile",
    ),
    Mutant(
        "pipelines/datasets/image_folder/coco.py",
        "setdefault((name, times[name]), number)", "setdefault((name, 0), number)",
        "pipelines/datasets/image_folder/test_coco.py::test_coco_that_would_be_misread",
    ),
    Mutant(
        "pipelines/datasets/prepared.py", "!= len(class_names) + 1", "== 0",
        "pipelines/datasets/test_loading.py::test_damaged_descriptions",
    ),
    Mutant(
        "pipelines/datasets/tfds_set/tfds_set_dataset_builder.py",
        "if values.shape != (height, width):", "if False:",
        "pipelines/datasets/test_tfds_set.py::test_a_mask_of_another_size_than_its_image",
    ),
    Mutant(
        "pipelines/building/conversion.py", "not in (*_AS_THEY_ARE, *_CONVERTED)", "is None",
        "pipelines/building/test_conversion.py::test_an_image_of_another_kind",
    ),
    Mutant(
        "pipelines/datasets/image_folder/masks.py",
        'if image.format == "GIF":', 'if image.format == "BMP":',
        "pipelines/datasets/image_folder/test_masks.py::test_forms",
    ),
    Mutant(
        "pipelines/datasets/image_folder/annotated_items.py",
        "return last if nearness(second) < nearness(last) else None", "return rivals[0]",
        "pipelines/datasets/image_folder/test_annotated_splits.py",
    ),
    Mutant(
        "gcn_keras/inference/keras_file.py",
        '.partition(".")[0] != "keras"', '.partition(".")[0] == "nothing"',
        "gcn_keras/inference/test_keras_file.py::test_layers_of_ones_own_keep_their_arguments",
    ),
    Mutant(
        "pipelines/datasets/image_folder/splitting.py",
        "abs(count + len(groups[name]) - wanted) >= abs(count - wanted)", "count >= wanted",
        "pipelines/datasets/image_folder/test_splitting.py::"
        "test_a_group_is_taken_where_that_leads_nearer_to_the_share",
    ),
    Mutant(
        "pipelines/base/loopback.py", "(6, 0, 0, 0xFFFFFFFF), (6, 0, 0, 0))",
        "(6, 0, 0, 0xFFFFFFFF), (6, 0, 0, 0xFFFFFFFF))",
        "pipelines/base/test_loopback.py",
    ),
    Mutant(
        "pipelines/base/decoding.py", 'kind == b"\\x08\\x00"', "kind == kind",
        "pipelines/stream/test_crops.py::test_labels_that_are_no_index_masks_are_an_error",
    ),
    Mutant(
        "pipelines/base/labels.py", "= (7, 8, 11, 12,", "= (7, 8, 12, 11,",
        "pipelines/datasets/test_cityscapes19.py::test_classes_and_colours",
    ),
    Mutant(
        "pipelines/datasets/voc2012_sbd/voc2012_sbd_dataset_builder.py",
        'set(ids) - set(_read_ids(lists / "val.txt"))', "set(ids)",
        "pipelines/datasets/test_voc2012_sbd.py::test_splits",
    ),
    Mutant(
        "pipelines/building/opening.py", "PngImageFile(io.BytesIO(data)).verify()", "pass",
        "pipelines/building/test_folders.py::test_no_flipped_bit_changes_a_label",
    ),
    Mutant(
        ARCHIVES, "left < 0 or number > MOST_FILES", "number > MOST_FILES",
        "pipelines/building/test_archives.py::test_an_archive_that_would_fill_the_disk",
    ),
    Mutant(
        ARCHIVES, "if folder not in target.parents:", "if False:",
        "pipelines/building/test_archives.py::test_an_archive_cannot_write_elsewhere",
    ),
    Mutant(
        ARCHIVES, "if not zeros:", "if False:",
        "pipelines/building/test_archives.py::test_a_tar_that_is_cut_off_between_two_files",
    ),
    Mutant(
        "pipelines/building/downloads.py", "if found != sha256:", "if False:",
        "pipelines/building/test_downloads.py::test_a_wrong_checksum",
    ),
    Mutant(
        "pipelines/building/downloads.py",
        "return response.read(CHUNK)\n    except (OSError, http.client.HTTPException)",
        "return response.read(CHUNK)\n    except http.client.HTTPException",
        "pipelines/building/test_downloads.py::test_a_lost_connection_is_taken_up_in_mid_file",
    ),
    Mutant(
        "pipelines/base/files.py", "temporary.unlink()", "pass",
        "gcn_keras/inference/test_overlays.py::TestSaveLabelMap",
    ),
    # === Models and their classes ===
    Mutant(
        "pipelines/base/labels.py", "1 <= num_classes <= IGNORE", "1 <= num_classes",
        "gcn_keras/evaluation/test_mean_iou.py::test_numbers_of_classes_that_cannot_be",
    ),
    Mutant(
        "gcn_keras/inference/keras_model.py", "check_classes(model.name, logits.shape[-1])", "pass",
        "gcn_keras/inference/test_keras_model.py::"
        "test_a_number_of_classes_that_makes_no_label_map",
    ),
    Mutant(
        "gcn_keras/inference/keras_file.py", "!= classes:", "!= classes and False:",
        "gcn_keras/inference/test_keras_file.py::test_what_is_no_name_and_no_colour",
    ),
    Mutant(
        "gcn_keras/inference/keras_model.py", "legend.palette if legend else None", "None",
        "gcn_keras/inference/test_legend.py::TestOfALoadedModel",
    ),
    # === Commands ===
    Mutant(
        "pipelines/base/errors.py", "os.O_RDWR)) <= 2", "os.O_RDWR)) < 2",
        "pipelines/base/test_errors.py::test_standard_streams_that_were_closed",
    ),
    # === Benchmarks ===
    Mutant(
        "benchmarks/traces.py", "line.timestamp_ns * 1000", "line.timestamp_ns",
        "test_benchmark_arithmetic.py::test_events_of_a_trace",
    ),
    Mutant(
        "benchmarks/waiting.py", "waits[:-1]", "waits",
        "test_benchmark_arithmetic.py::test_waiting_counts_whole_steps",
    ),
    Mutant(
        "benchmarks/step_parts.py", "-= event.duration", "-= 0",
        "test_benchmark_arithmetic.py::test_an_operation_counts_without_those_within_it",
    ),
    Mutant(
        "benchmarks/step_parts.py", "< other.start + other.duration",
        "<= other.start + other.duration",
        "test_benchmark_arithmetic.py::test_an_operation_counts_without_those_within_it",
    ),
    Mutant(
        "benchmarks/tflite_parts.py", "PIXELS_IN if i < first", "PIXELS_IN if i > first",
        "test_benchmark_arithmetic.py::test_parts_of_a_tflite_file",
    ),
    Mutant(
        "benchmarks/children.py", "total += _shares_kib(", "total = _shares_kib(",
        "test_benchmark_arithmetic.py::test_memory_of_a_process_and_its_descendants",
    ),
    Mutant(
        "benchmarks/input_pipeline.py", "max(memory_with", "min(memory_with",
        "test_benchmark_arithmetic.py::test_the_peak_of_the_memory_while_batches_are_made",
    ),
)  # fmt: skip


def mutated(mutant: Mutant, repository: Path = REPOSITORY) -> str:
    """The content of a mutant's file.

    Raises:
        ValueError: the text to replace does not occur once.
    """
    content = (repository / mutant.file).read_text()
    if (count := content.count(mutant.old)) != 1:
        raise ValueError(f"{mutant.file} holds {mutant.old!r} {count} times, not once")
    return content.replace(mutant.old, mutant.new)


def run_tests(
    folder: Path, tests: Sequence[str], output: Path, seconds: float | None = SECONDS
) -> int:
    """Runs tests of a copy of the repository in a process of their own; pytest's exit status.

    The process is a fork of one that has imported what takes its time, and nothing of the project.
    """
    process = FORKS.Process(target=_test, args=(folder, tests, output))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return 1
    return process.exitcode or 0


def _test(folder: Path, tests: Sequence[str], output: Path) -> None:
    import pytest

    with open(output, "wb") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # times of files tell whole seconds apart, no more
    os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    names = [f"tests/{name}" for name in tests]
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *names]))


FORKS = multiprocessing.get_context("forkserver")


def main(words: Sequence[str]) -> int:
    """Runs the mutants and prints a line for each; the exit status."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1", "MPLBACKEND": "Agg"}
    FORKS.set_forkserver_preload(
        [
            "tensorflow",
            "keras",
            "tensorflow_datasets",
            "matplotlib.figure",
            "scipy.ndimage",
            "pytest",
        ]
    )
    chosen = [m for m in MUTANTS if not words or any(w in m.file + m.tests for w in words)]
    if not chosen:
        print(f"no mutant's file or test has any of these in its name: {', '.join(words)}")
        return 2
    survivors = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder, output = Path(temporary, "copy"), Path(temporary, "output")
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in COPIED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)
        tests = sorted({test for mutant in chosen for test in mutant.tests.split()})
        print(f"the tests of {len(chosen)} mutants, on the code as it is", flush=True)
        if run_tests(folder, tests, output, seconds=None):
            print(output.read_text(errors="replace")[-3000:])
            print("tests fail on the code as it is: no mutant was tried")
            return 1
        for number, mutant in enumerate(chosen, start=1):
            path = folder / mutant.file
            content, started = path.read_text(), time.monotonic()
            path.write_text(mutated(mutant, folder))
            status = run_tests(folder, mutant.tests.split(), output)
            path.write_text(content)
            # Of pytest: 1 says that tests failed, others that they did not run.
            outcome = {0: "SURVIVED", 1: "killed"}.get(status, f"NOT TRIED, status {status}")
            survivors += status != 1
            print(
                f"[{number}/{len(chosen)}] {outcome}: {mutant.file}: {mutant.old!r} -> "
                f"{mutant.new!r} ({time.monotonic() - started:.0f} s)",
                flush=True,
            )
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
