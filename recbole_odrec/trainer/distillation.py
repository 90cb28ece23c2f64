"""Phase 2: the student learns what the objectives ask of it, from the data and from the frozen teacher."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.model.odrec import ODRec
from recbole_odrec.nn import ItemTable
from recbole_odrec.nn.tables.split import own_rows
from recbole_odrec.parsing import parse
from recbole_odrec.processes.from_first import own_part
from recbole_odrec.processes.rows import whole_in_first
from recbole_odrec.settings import DistillationConfig
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.objectives import Pair, Step, active_objectives, needs_teacher
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.start import check_start, start_from_teacher
from recbole_odrec.trainer.student_update import StudentUpdate
from recbole_odrec.trainer.teacher_phase import provide_teacher


class DistillationTrainer(ResumableTrainer):
    """Trains ODRec by the sum of its objectives (`trainer.objectives`), of which the paper's are (section 3.4)

        (1 - kd_weight) CE + kd_weight KL + contrastive_weight * contrastive + predictive_weight * predictive

    What weighs 0 is not computed, and without an objective that needs one there is no teacher. The teacher and the
    objectives belong to this trainer: neither is in the student's state, only the objectives are in the optimizer.

    Args:
        config, model, run_dir: as in `ResumableTrainer`.
        teacher: a model with `training_cases` and `item_table` (`SessionRecommender`, `ProductTeacher` or
            `TeacherEnsemble`); when None, `fit` trains one as the configuration says.

    Attributes:
        objectives: those that weigh more than 0, by name; their parameters train beside the student's.
    """

    model: ODRec

    def __init__(
        self,
        config: Config,
        model: ODRec,
        teacher: nn.Module | None = None,
        run_dir: Path | None = None,
        phase: str = "student",
    ) -> None:
        super().__init__(config, model, run_dir, phase)
        self.distillation = parse(DistillationConfig, config)
        self.teacher: nn.Module | None = None
        self.latent: nn.Parameter | None = None  # what the item table has trained along with it
        self._latent_bounds: Sequence[int] | None = None  # where its rows are split
        self._active = active_objectives(config)
        self.update = StudentUpdate(config, model) if config["update_from"] else None
        if self.update is not None:
            self.average = None  # of whole numbers there is none
        if teacher is not None:
            self.attach_teacher(teacher)
        elif not needs_teacher(config):
            if self.update is not None:
                self.latent = self.update.follow(None)
            self._assemble()

    def attach_teacher(self, teacher: Any, starts: bool = True) -> None:
        """Freezes the teacher, starts the student from it if asked to, builds the objectives.

        Args:
            teacher: as for the class.
            starts: False where `resume` is about to load what the start would find, which can take minutes.
        """
        self.teacher = teacher.to(self.device).eval().requires_grad_(False)
        first: Any = teacher.start if isinstance(teacher, TeacherEnsemble) else teacher
        if self.update is not None:
            self.latent = self.update.follow(first.item_table.to_matrix() if first.gives_embeddings else None)
            return self._assemble()
        check_start(self.model, first, type(first).__name__, self.distillation.init_from_teacher)
        if first.gives_embeddings:
            if starts:
                start_from_teacher(self.model, first, copy_weights=self.distillation.init_from_teacher)
            self.latent = self._companion(self.model.item_table, first.item_table)
        self._assemble()

    def _companion(self, table: ItemTable, theirs: ItemTable) -> nn.Parameter | None:
        """What trains along with the table, its rows split as the teacher's are if it does with that."""
        if table.splits_companion and theirs.columns is not None:
            own: Any = theirs.frozen()
            self._latent_bounds = own.bounds
            return table.companion(own.weight, own.bounds)
        is_none = type(table).companion is ItemTable.companion  # then nobody needs all rows
        return None if is_none else table.companion(theirs.to_matrix())

    def _split(self) -> dict[int, Sequence[int]]:
        latent, bounds = self.latent, self._latent_bounds
        return super()._split() | ({} if latent is None or bounds is None else {latent.data_ptr(): bounds})

    def _assemble(self) -> None:
        """Objectives and the optimizer of all that trains, which is thrown away afterwards but for the student."""
        self.pair = Pair(self.model, self.teacher)
        built = {kind.name: kind(settings, self.pair) for kind, settings in self._active.items()}
        self.objectives = nn.ModuleDict(built).to(self.device)
        latent = [] if self.latent is None else [self.latent]
        parameters = [*self.model.parameters(), *self.objectives.parameters(), *latent]
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self.optimizer = self._build_optimizer(params=trained)
        if latent:
            follower = self.update or self.model.item_table
            self.optimizer.register_step_post_hook(lambda *_: follower.after_step(self._step))

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> tuple[float, dict | None]:
        """Phase 2, after phase 1 if no teacher was handed over."""
        if self.teacher is None and needs_teacher(self.config):
            show_progress = kwargs.get("show_progress", False)
            teacher = provide_teacher(self.config, train_data, valid_data, self.run_dir, show_progress=show_progress)
            self.attach_teacher(teacher.model)
        self.pair.dataset = dataset = train_data._dataset
        if self.update is not None:
            self.update.expect(dataset)
        return super().fit(train_data, valid_data, *args, **kwargs)

    @property
    def loss_names(self) -> tuple[str, ...]:
        weights = [kind.weights(settings).items() for kind, settings in self._active.items()]
        return tuple(name for of_one in weights for name, weight in of_one if weight > 0)

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> tuple:
        means = super()._train_epoch(train_data, epoch_idx, loss_func or self.loss_parts, show_progress)
        if self.update is not None:  # what is validated and kept is what fits
            self.update.move()
            self.update.fit_budget(partial(self._row_gradient, train_data, self.config["seed"] + epoch_idx))
        return means

    def _row_gradient(self, train_data: Any, seed: int) -> Tensor:
        """Of the loss over an epoch's batches by an update's full table, [N, W], with its numbers as they stand."""
        train_data.generator.manual_seed(seed)
        self.optimizer.zero_grad()
        for batch in train_data:
            sum(self.loss_parts(batch.to(self.device))).backward()  # pyright: ignore[reportAttributeAccessIssue]
        return self.latent.grad  # pyright: ignore[reportOptionalMemberAccess, reportReturnType]  # it has just got one

    def loss_parts(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted parts of the loss, in the order of `loss_names`; their sum is what is minimised.

        Raises:
            UserError: an objective gave other parts than those that it has a weight for.
        """
        step, parts = Step(self.pair, interaction), {}
        for kind in self._active:
            found = self.objectives[kind.name](step)
            if step.share is not None:
                weight = step.share.part_of(kind.averaged_over)
                found = {name: weight * part for name, part in found.items()}
            parts.update(found)
        if parts.keys() != set(self.loss_names):
            raise UserError(f"objectives gave {tuple(parts)}, their weights above 0 are of {self.loss_names}.")
        return tuple(parts[name] for name in self.loss_names)

    # ------------------------------------------------------------------ checkpoints

    def _best_state(self, epoch: int) -> dict[str, Any]:
        return {**super()._best_state(epoch), "tokens": checkpoint.packed_tokens(self.pair.dataset)}

    def _training_state(self) -> dict[str, Any]:
        state = {**super()._training_state(), "objectives": self.objectives.state_dict()}
        if self.latent is not None:
            rows, bounds = self.latent.detach(), self._latent_bounds
            state["latent"] = rows if bounds is None else whole_in_first(rows, bounds)
        return state

    def _load_training_state(self, state: dict[str, Any]) -> None:
        if self.teacher is None and needs_teacher(self.config):
            raise UserError("call attach_teacher(teacher, starts=False) first: the checkpoint holds what trains along.")
        objectives = state.get("objectives", {})  # 0.1.0 had no such entry: it goes on where they hold no weights
        if objectives.keys() != self.objectives.state_dict().keys():
            raise UserError(
                "this last.pth was trained by other objectives or by version 0.1.0: it cannot be continued, train anew "
                "(its best.pth can still be evaluated and exported)."
            )
        super()._load_training_state(state)
        self.objectives.load_state_dict(own_rows(self.objectives, objectives))
        if self.latent is not None:
            self.latent.data.copy_(own_part(state["latent"], self._latent_bounds))
        vars(self.pair).pop("teacher_table", None)  # the item order is part of the state
