"""Which epoch is the best, how long a run waits for a better one, and a best model that is lost."""

import dataclasses
import math
import signal
import types

import pytest
from counting_loop import RECIPE, bias_of, history, make_loop

from gcn_keras.recipes.recipe import configuration
from pipelines.base.errors import Interrupted


def test_of_equal_scores_the_first_one_is_the_best(tmp_path):
    progress = make_loop(tmp_path / "run", ious=(0.5, 0.6, 0.6))()
    assert (progress.best_epoch, progress.best_score) == (2, pytest.approx(0.3))
    assert bias_of(tmp_path / "run" / "best.keras") == 10


def test_scores_of_another_kind(tmp_path):
    """The first one decides."""
    measured = iter([(0.2, 0.9), (0.4, 0.5), (0.3, 0.8)])
    loop = make_loop(
        tmp_path / "run",
        validate=lambda check_stop: types.SimpleNamespace(
            **dict(zip(("first", "second"), next(measured), strict=True))
        ),
    )
    loop.scores = ("first", "second")
    progress = loop()
    assert (progress.best_epoch, progress.best_score) == (2, 0.4)
    rows = history(tmp_path / "run")
    assert [(row["val_first"], row["val_second"]) for row in rows] == [
        (0.2, 0.9),
        (0.4, 0.5),
        (0.3, 0.8),
    ]
    assert bias_of(tmp_path / "run" / "best.keras") == 10


class TestPatience:
    IOUS = (0.5, 0.6, 0.6, 0.55, 0.7, 0.8)
    RECIPE = dataclasses.replace(RECIPE, epochs=6, patience=2)

    def test_ends_the_run_after_so_many_validations(self, tmp_path, capsys):
        loop = make_loop(tmp_path / "run", self.RECIPE, self.IOUS)
        progress = loop()
        assert (progress.epoch, progress.best_epoch, progress.ended) == (4, 2, True)
        assert len(history(tmp_path / "run")) == 4
        assert bias_of(tmp_path / "run" / "model.keras") == 20
        assert bias_of(tmp_path / "run" / "best.keras") == 10
        assert capsys.readouterr().out.splitlines()[-1] == (
            "ends after epoch 4: none of 2 validations was better than that of epoch 2"
        )

    def test_of_three_lasts(self, tmp_path):
        recipe = dataclasses.replace(self.RECIPE, patience=3)
        progress = make_loop(tmp_path / "run", recipe, self.IOUS)()
        assert (progress.epoch, progress.best_epoch, progress.ended) == (6, 6, False)

    def test_counts_validations(self, tmp_path):
        """Of epochs 2, 4 and 6."""
        recipe = dataclasses.replace(self.RECIPE, epochs=9, validate_every=2)
        ious = (0.0, 0.6, 0.0, 0.5, 0.9, 0.4, 0.9, 0.9, 0.9)
        progress = make_loop(tmp_path / "run", recipe, ious)()
        assert (progress.epoch, progress.best_epoch) == (6, 2)

    def test_without_any_score(self, tmp_path, capsys):
        nothing = types.SimpleNamespace(mean_iou=math.nan, pixel_accuracy=math.nan)
        loop = make_loop(tmp_path / "run", self.RECIPE, validate=lambda check_stop: nothing)
        assert loop().epoch == 2
        assert capsys.readouterr().out.endswith("epoch 2: none of 2 validations had a score\n")

    @pytest.mark.parametrize("at", [11, 16, 19])
    def test_a_run_that_goes_on_counts_on(self, tmp_path, at):
        interrupted = make_loop(
            tmp_path / "run", self.RECIPE, self.IOUS, signals={at: signal.SIGTERM}
        )
        with pytest.raises(Interrupted):
            interrupted()
        again = make_loop(tmp_path / "run", self.RECIPE, self.IOUS)
        again.state.restore()
        assert again().epoch == 4

    def test_a_run_that_has_ended_takes_no_more_steps(self, tmp_path):
        make_loop(tmp_path / "run", self.RECIPE, self.IOUS)()
        again = make_loop(tmp_path / "run", self.RECIPE, self.IOUS)
        assert again.state.restore() == 20
        assert again().epoch == 4 and bias_of(tmp_path / "run" / "model.keras") == 20

    def test_more_epochs_take_up_a_run_that_has_ended(self, tmp_path):
        """It has as much patience again: epochs 5 and 6, neither of them as good as epoch 2."""
        ious = (*self.IOUS[:4], 0.5, 0.4, 0.9)

        def go_on(epochs):
            recipe = dataclasses.replace(self.RECIPE, epochs=epochs, resume=True)
            loop = make_loop(tmp_path / "run", recipe, ious)
            loop.run.origin = {"configuration": configuration(recipe)}
            loop.run.origin |= {"class_names": [], "data_sha256": {}}
            loop.state.restore()
            return loop()

        assert go_on(6).epoch == 4
        progress = go_on(7)
        assert (progress.epoch, progress.best_epoch, progress.ended) == (6, 2, True)
        assert len(history(tmp_path / "run")) == 6
        assert go_on(7).epoch == 6  # it has ended again


class TestLostBestModel:
    @pytest.mark.parametrize("how", ["damaged", "removed"])
    def test_at_the_end_of_an_epoch_its_model_is_the_best(self, tmp_path, capsys, how):
        """Also after the last one."""
        make_loop(tmp_path / "run")()
        best = tmp_path / "run" / "best.keras"
        assert bias_of(best) == 10
        best.write_bytes(best.read_bytes()[:-100]) if how == "damaged" else best.unlink()
        loop = make_loop(tmp_path / "run")
        loop.state.restore()
        [line] = capsys.readouterr().out.splitlines()[3:]
        assert line.startswith(f"{best} cannot be read (")
        assert line.endswith("); the run makes another one")
        loop()
        assert bias_of(best) == 15
        again = make_loop(tmp_path / "run")
        again.state.restore()
        assert (again.progress.best_epoch, again.progress.best_score) == (3, 0.275)

    def test_of_a_run_that_came_to_its_end(self, tmp_path):
        """The last epoch is measured again, and its model is the best that is left."""
        make_loop(tmp_path / "run")()
        best = tmp_path / "run" / "best.keras"
        best.unlink()
        again = make_loop(tmp_path / "run", ious=(0.5, 0.6, 0.55, 0.55))
        assert again.state.restore() == 15
        progress = again()
        assert (progress.epoch, progress.best_epoch, progress.best_score) == (3, 3, 0.275)
        assert bias_of(best) == 15
        assert [row["epoch"] for row in history(tmp_path / "run")] == [1, 2, 3]

    def test_within_an_epoch_its_validation_makes_one(self, tmp_path):
        """However low its score, and with patience anew."""
        recipe = dataclasses.replace(RECIPE, epochs=9, patience=1)
        ious = (0.5, 0.6, 0.3, 0.2, 0.9, 0.9)
        interrupted = make_loop(tmp_path / "run", recipe, ious, signals={12: signal.SIGTERM})
        with pytest.raises(Interrupted):
            interrupted()
        best = tmp_path / "run" / "best.keras"
        assert bias_of(best) == 10
        best.unlink()
        again = make_loop(tmp_path / "run", recipe, ious)
        again.state.restore()
        progress = again()
        assert (progress.epoch, progress.best_epoch, progress.best_score) == (4, 3, 0.15)
        assert bias_of(best) == 15
