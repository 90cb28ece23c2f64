"""RecBole's `Trainer` with checkpoints of our own: best and last, exact resume, a phase's own log and TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from recbole.config import Config
from recbole.utils import get_local_time, set_color
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from recbole_odrec.errors import UserError
from recbole_odrec.neighbours.followers import keep_followers
from recbole_odrec.nn.tables.split import own_optimizer, own_rows, whole_optimizer, whole_rows
from recbole_odrec.screen import FILE_ONLY
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.finite import EpochLoss, check_weights
from recbole_odrec.trainer.follower_gain import choose_gain, chooses_gain
from recbole_odrec.trainer.shared import SharedTrainer


class ResumableTrainer(SharedTrainer):
    """Trains one model; a killed run resumes to the same numbers as one never killed.

    An epoch draws its batches from `seed + epoch`; everything else random is stored with the last checkpoint, so
    continuing after it repeats what an uninterrupted run would have done. Gradient scalers live for an epoch.

    Args:
        config, model: as in RecBole.
        run_dir: where `<phase>/best.pth` and `<phase>/last.pth` go; a new folder in `checkpoint_dir` when None.
        phase: name of this phase.

    Attributes:
        epoch_seconds, best_epoch: training time of each epoch so far, seconds; epoch of the best checkpoint.
    """

    _check_nan: Any = staticmethod(lambda _: None)  # `EpochLoss` looks, without waiting at every step

    def __init__(self, config: Config, model: nn.Module, run_dir: Path | None = None, phase: str = "train") -> None:
        super().__init__(config, model)
        run_dir = run_dir or Path(config["checkpoint_dir"]) / f"{config['model']}-{get_local_time()}"
        self.phase, self.run_dir = phase, Path(run_dir)
        self.best_file, self.last_file = (self.run_dir / phase / f"{name}.pth" for name in ("best", "last"))
        self.saved_model_file = str(self.best_file)  # RecBole's name for it
        self.epoch_seconds: list[float] = []
        self.loss_history: list[dict[str, float]] = []
        self.best_epoch = -1
        decay = config["average_decay"] or 0.0  # absent from the configurations of RecBole's own models
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None
        self._item_fingerprint, self._validates = "", True
        self._step, self._steps_an_epoch = 0, 1
        # A refit repeats the first epochs of the schedule that selected them.
        self.scheduled_epochs = self.epochs
        self.epochs = config["refit_epochs"] or self.epochs

    # ------------------------------------------------------------------ weight averaging

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        optimizer = super()._build_optimizer(**kwargs)
        for group in optimizer.param_groups if isinstance(optimizer, (Adam, AdamW)) else ():
            group["fused"] = True  # one pass over each weight; the same numbers to rounding
        optimizer.register_step_pre_hook(self._decay_learning_rate)
        optimizer.register_step_post_hook(self._update_average)
        return optimizer

    def _decay_learning_rate(self, optimizer: Optimizer, *_: object) -> None:
        """The share of the learning rate that this step gets: all of it, or less and less until the last step."""
        share = 1.0
        if self.config["learning_rate_decay"] == "linear":
            share = max(1 - self._step / (self.scheduled_epochs * self._steps_an_epoch), 0.0)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * share
        self._step += 1

    def _update_average(self, *_: object) -> None:
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _weights(self) -> dict[str, Tensor]:
        """The weights that are validated and kept: the average where there is one."""
        return whole_rows(self.model if self.average is None else self.average.module)

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict]:
        if self.average is None:
            return super()._valid_epoch(valid_data, show_progress)
        trained, self.model = self.model, self.average.module
        try:
            return super()._valid_epoch(valid_data, show_progress)
        finally:
            self.model = trained

    # ------------------------------------------------------------------ training

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict | None]:
        """As RecBole's; also keeps the last checkpoint, and returns at once when a resumed phase was complete."""
        self._item_fingerprint = checkpoint.same_items(train_data._dataset, self._item_fingerprint)
        self._validates = bool(valid_data) and self.eval_step > 0
        if (followers := getattr(self.model, "followers", None)) is not None and not followers.strengths.any():
            keep_followers(self.model, train_data._dataset)  # of a script that has built the model itself
        if self.is_complete:
            self.eval_collector.data_collect(train_data)

        def after_validation(epoch: int, score: float) -> None:
            is_last = epoch + self.eval_step >= self.epochs or self.cur_step > self.stopping_step
            if saved and (is_last or (epoch + 1) % self.config["save_step"] == 0):
                self._save_last(epoch)
            if callback_fn:
                callback_fn(epoch, score)

        if not self.is_complete:
            super().fit(train_data, valid_data, verbose, saved, show_progress, after_validation)
        if saved and self._validates and chooses_gain(self.config):
            choose_gain(self, valid_data, show_progress)
        return self.best_valid_score, self.best_valid_result

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Callable | None = None, show_progress: bool = False
    ) -> tuple[float, ...]:
        """One epoch; returns the mean of each part of the loss over batches."""
        train_data.generator.manual_seed(self.config["seed"] + epoch_idx)
        self._steps_an_epoch = n_steps = len(train_data)
        self._step = epoch_idx * n_steps
        start = perf_counter()
        loss = EpochLoss(loss_func or self.loss, self.loss_names, self.config, self.phase, epoch_idx)
        super()._train_epoch(train_data, epoch_idx, loss, show_progress)
        means = tuple(total / n_steps for total in loss.sums())
        check_weights(self.config, self.phase, epoch_idx, self.model)
        self.epoch_seconds.append(perf_counter() - start)
        self.loss_history.append(dict(zip(self.loss_names, means, strict=True)))
        return means

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the parts of the loss, in order."""
        return ("next_item",)

    @property
    def is_complete(self) -> bool:
        """Whether the epochs are used up or early stopping has struck (only after a resume)."""
        return self.start_epoch > 0 and (self.start_epoch >= self.epochs or self.cur_step > self.stopping_step)

    def _generate_train_loss_output(self, epoch_idx: int, s_time: float, e_time: float, losses: tuple) -> str:
        parts = ", ".join(f"{name}: {loss:.4f}" for name, loss in zip(self.loss_names, losses, strict=True))
        return (
            f"{set_color(f'{self.phase} epoch {epoch_idx} training', 'green')} "
            f"[{set_color('time', 'blue')}: {e_time - s_time:.2f}s, {set_color('train loss', 'blue')}: {parts}]"
        )

    def _add_train_loss_to_tensorboard(self, epoch_idx: int, losses: tuple, tag: str = "Loss/Train") -> None:
        for name, loss in zip(self.loss_names, losses, strict=True):
            self.tensorboard.add_scalar(f"{self.phase}/{tag}/{name}", loss, epoch_idx)

    # ------------------------------------------------------------------ checkpoints

    def _best_state(self, epoch: int) -> dict[str, Any]:
        return {
            "phase": self.phase,
            "model": type(self.model).__name__,
            "config": checkpoint.plain_config(self.config),
            "items": self._item_fingerprint,
            "n_items": int(self.model.n_items),
            "epoch": epoch,
            "state_dict": self._weights(),
        }

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: object) -> None:
        """RecBole calls this for each best epoch (for every epoch without validation)."""
        self.best_epoch = epoch
        checkpoint.save(self.best_file, self._best_state(epoch))
        if not self._validates:
            self._save_last(epoch)
        if verbose:
            self.logger.info(f"{self.phase}: best so far, kept in {self.best_file}", extra=FILE_ONLY)

    def _training_state(self) -> dict[str, Any]:
        """State beside the model's that training needs; subclasses add theirs."""
        state = {"optimizer": whole_optimizer(self.optimizer, self._split()), "state_dict": whole_rows(self.model)}
        return state if self.average is None else {**state, "average": whole_rows(self.average)}

    def _load_training_state(self, state: dict[str, Any]) -> None:
        checkpoint.load_weights(self.model, state["state_dict"], self.last_file)
        self.optimizer.load_state_dict(own_optimizer(self.optimizer, self._split(), state["optimizer"]))
        if self.average is not None:
            self.average.load_state_dict(own_rows(self.average, state["average"]))

    def _save_last(self, epoch: int) -> None:
        best = self.best_valid_result
        state = {
            **self._best_state(epoch),
            "training": self._training_state(),
            "cur_step": self.cur_step,
            "best_epoch": self.best_epoch,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": None if best is None else {key: float(value) for key, value in best.items()},
            "epoch_seconds": self.epoch_seconds,
            "loss_history": self.loss_history,
            "rng": checkpoint.rng_state(),
        }
        checkpoint.save(self.last_file, state)

    def resume(self) -> bool:
        """Continues after this phase's last checkpoint; False when there is none (the phase starts afresh)."""
        if not checkpoint.exists(self.last_file):
            return False
        self.resume_checkpoint(self.last_file)
        return True

    def resume_checkpoint(self, resume_file: str | Path) -> None:
        """Loads a `last.pth`, or the one beside a `best.pth`: weights, optimizer, counters, random generators.

        Raises:
            UserError: the file is unreadable or of another model.
        """
        path, state = checkpoint.load_training(Path(resume_file))
        if state["model"] != type(self.model).__name__:
            raise UserError(f"{path} is not a last.pth of {type(self.model).__name__}.")
        with checkpoint.continuing(path):
            self._load_training_state(state["training"])
            checkpoint.set_rng_state(state["rng"])
        self.start_epoch, self.cur_step = state["epoch"] + 1, state["cur_step"]
        self.best_epoch, self.best_valid_score = state["best_epoch"], state["best_valid_score"]
        self.best_valid_result, self._item_fingerprint = state["best_valid_result"], state["items"]
        self.epoch_seconds, self.loss_history = list(state["epoch_seconds"]), list(state["loss_history"])
        self.logger.info(f"{self.phase}: resumed after epoch {state['epoch']} from {path}")

    def load_best(self, model_file: str | Path | None = None) -> None:
        """Puts the best epoch's weights into the model."""
        path = Path(model_file or self.best_file)
        checkpoint.load_weights(self.model, checkpoint.load_model(path, in_parts=True)["state_dict"], path)

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: str | None = None, show_progress: bool = False
    ) -> dict | None:
        """As RecBole's, with our checkpoints (RecBole's own loading fails on torch >= 2.6)."""
        if eval_data and load_best_model:
            self.load_best(model_file)
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
