"""Phase 2: the student learns from the data, from the frozen teacher and from recombined embeddings of both.

Dimension key: B sessions, L positions, C training cases, D_s / D_t dimensions of student / teacher, N items.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_odrec.data.head_tail import head_items
from recbole_odrec.losses import Recombination, at_once, catalogue_loss, contrastive_loss, predictive_loss
from recbole_odrec.model.ensemble import TeacherEnsemble
from recbole_odrec.model.odrec import ODRec
from recbole_odrec.model.session_recommender import TrainingCases
from recbole_odrec.nn import FrozenTable
from recbole_odrec.nn.product import ScoreBuffer
from recbole_odrec.parsing import parse
from recbole_odrec.settings import DistillationConfig
from recbole_odrec.trainer.resumable import ResumableTrainer
from recbole_odrec.trainer.start import start_from_teacher
from recbole_odrec.trainer.teacher_phase import provide_teacher


class DistillationTrainer(ResumableTrainer):
    """Trains ODRec with the paper's loss (section 3.4), provides the teacher itself where none is handed over.

        (1 - kd_weight) CE + kd_weight KL + contrastive_weight * contrastive + predictive_weight * predictive

    A part of weight 0 is not computed, and without any part that needs it there is no teacher. The teacher and the
    recombination heads belong to this trainer: neither is in the student's state, only the heads are in the optimizer.

    Args:
        config, model, run_dir: as in `ResumableTrainer`.
        teacher: a model with `training_cases` and `item_table` (`SessionRecommender`, `ProductTeacher` or
            `TeacherEnsemble`); when None, `fit` trains one as the configuration says.
    """

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
        self.recombination: Recombination | None = None
        self.is_head: Tensor | None = None
        self._teacher_table: FrozenTable | None = None  # at the precision of training, in the student's columns
        self.latent: nn.Parameter | None = None  # what the item table has trained along with it
        # The teacher's scores and, after them, those of the predictive task.
        self._shared_buffer = ScoreBuffer()
        if teacher is not None:
            self.attach_teacher(teacher)

    def attach_teacher(self, teacher: nn.Module, starts: bool = True) -> None:
        """Freezes the teacher, starts the student from it if asked to, adds the recombination heads.

        Args:
            teacher: as for the class.
            starts: False where `resume` is about to load what the start would find, which can take minutes.
        """
        self.teacher = teacher.to(self.device).eval().requires_grad_(False)
        first = teacher.members[0] if isinstance(teacher, TeacherEnsemble) else teacher
        if starts:
            start_from_teacher(self.model, first, copy_weights=self.distillation.init_from_teacher)
        self._line_up()
        student_dim, teacher_dim = self.model.hidden_size, teacher.hidden_size
        view_dims = {}
        if self.distillation.contrastive_weight:
            view_dims["contrastive"] = (student_dim, student_dim)
        if self.distillation.predictive_weight:
            view_dims["predictive"] = (student_dim, teacher_dim)
        if view_dims:
            self.recombination = Recombination(student_dim, teacher_dim, view_dims).to(self.device)
        # Trained beside the student, and thrown away afterwards.
        own = [] if self.recombination is None else [*self.recombination.parameters()]
        every_item = torch.arange(self.model.n_items, device=self.device)
        self.latent = self.model.item_table.companion(first.item_table(every_item))
        if self.latent is not None:
            own.append(self.latent)
        self.optimizer = self._build_optimizer(params=[*self.model.parameters(), *own])
        if self.latent is not None:
            self.optimizer.register_step_post_hook(lambda *_: self.model.item_table.after_step(self._step))

    def _line_up(self) -> None:
        """Puts the teacher's items into the columns of the student's scores."""
        table = self.teacher.item_table.frozen(self.model.score_dtype)
        self._teacher_table = table.in_columns_of(self.model.item_table)

    def fit(self, train_data: Any, valid_data: Any = None, *args: Any, **kwargs: Any) -> tuple[float, dict | None]:
        """Phase 2, after phase 1 if no teacher was handed over."""
        if self.teacher is None and self.distillation.needs_teacher:
            show_progress = kwargs.get("show_progress", False)
            teacher = provide_teacher(self.config, train_data, valid_data, self.run_dir, show_progress=show_progress)
            self.attach_teacher(teacher.model)
        self.is_head = head_items(train_data._dataset).to(self.device)
        return super().fit(train_data, valid_data, *args, **kwargs)

    @property
    def loss_names(self) -> tuple[str, ...]:
        weights = self.distillation
        parts = {
            "next_item": 1 - weights.kd_weight,
            "soft_targets": weights.kd_weight,
            "contrastive": weights.contrastive_weight,
            "predictive": weights.predictive_weight,
        }
        return tuple(name for name, weight in parts.items() if weight > 0)

    @property
    def _columns(self) -> dict[str, int | None]:
        """What stands in the columns of the student's raw scores."""
        return {"n_items": self.model.n_items, "zero_item": self.model.item_table.zero_item}

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> tuple:
        return super()._train_epoch(train_data, epoch_idx, loss_func or self.loss_parts, show_progress)

    def loss_parts(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The weighted parts of the loss, in the order of `loss_names`; their sum is what is minimised."""
        weights, student = self.distillation, self.model
        cases = student.training_cases(interaction)
        teacher_cases = teacher_scores = None
        if weights.learns_from_teacher:
            with torch.no_grad():
                teacher_cases = self.teacher.training_cases(interaction)
                if weights.kd_weight > 0:
                    teacher_scores = self._teacher_table.raw_scores(teacher_cases.case_repr, buffer=self._shared_buffer)
                    if teacher_cases.added is not None:
                        items, values = student.in_columns(teacher_cases.added)
                        teacher_scores.scatter_add_(1, items, values.to(teacher_scores.dtype))
        total, soft = catalogue_loss(
            student.training_scores(cases.case_repr),
            student.columns_of(cases.pos_items),
            **self._columns,
            teacher_scores=teacher_scores,
            kd_weight=weights.kd_weight,
            temperature=weights.temperature,
            added=student.in_columns(cases.added),
        )
        # One loss with one gradient; what is logged as next_item is what soft targets leave of it.
        parts = {"soft_targets": total} if weights.kd_weight == 1 else {"next_item": total - soft, "soft_targets": soft}
        if self.recombination is not None:
            parts.update(self._recombined_parts(interaction, cases, teacher_cases))
        return tuple(parts[name] for name in self.loss_names)

    def _recombined_parts(
        self, interaction: Interaction, cases: TrainingCases, teacher_cases: TrainingCases
    ) -> dict[str, Tensor]:
        """Contrastive and predictive part over whole rows of the batch."""
        weights, student = self.distillation, self.model
        item_seq = interaction[student.ITEM_SEQ]  # [B, L]
        views = self.recombination(
            cases.item_repr,
            teacher_cases.item_repr,
            cases.session_repr,
            teacher_cases.session_repr,
            is_head=self.is_head[item_seq],
            is_valid=item_seq != 0,
        )
        parts = {}
        if "contrastive" in views:
            loss = contrastive_loss(*views["contrastive"], weights.contrastive_temperature)
            parts["contrastive"] = weights.contrastive_weight * loss
        if "predictive" in views:
            table, pos_items = student.item_table, student.columns_of(interaction[student.POS_ITEM_ID])
            scores = partial(table.raw_scores, dtype=student.score_dtype, buffer=self._shared_buffer)
            of_first = partial(predictive_loss, scores=scores, pos_items=pos_items, **self._columns)
            scores = partial(self._teacher_table.raw_scores, buffer=self._shared_buffer)
            of_second = partial(predictive_loss, scores=scores, pos_items=pos_items)
            first, second = views["predictive"]
            loss = at_once(of_first, first, table.parameters()) + at_once(of_second, second)
            parts["predictive"] = weights.predictive_weight * loss
        return parts

    # ------------------------------------------------------------------ checkpoints

    def _training_state(self) -> dict[str, Any]:
        state = super()._training_state()
        if self.recombination is not None:
            state["recombination"] = self.recombination.state_dict()
        if self.latent is not None:
            state["latent"] = self.latent.detach()
        return state

    def _load_training_state(self, state: dict[str, Any]) -> None:
        super()._load_training_state(state)
        if self.recombination is not None:
            self.recombination.load_state_dict(state["recombination"])
        if self.latent is not None:
            self.latent.data.copy_(state["latent"])
        if self.teacher is not None:
            self._line_up()  # the item order is part of the state
