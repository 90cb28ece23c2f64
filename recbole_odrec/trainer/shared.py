"""RecBole's `Trainer` on one process or on several that share each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from recbole_odrec.data.eval_loader import BoundedEvalLoader
from recbole_odrec.errors import UserError
from recbole_odrec.nn.tables.split import split_tables
from recbole_odrec.processes.group import n_processes
from recbole_odrec.processes.shares import clip_shared_, first_ones, sum_gradients
from recbole_odrec.trainer.split_scores import split_batch
from recbole_odrec.trainer.topk_collector import TopKCollector


class SharedBatches:
    """A loader's batches of windows, of each of them this process's share."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Interaction]:
        return (batch.shared() for batch in self._loader)


class SharedTrainer(Trainer):
    """As RecBole's, where there is one process.

    Of several, each computes its share of a batch; gradients are summed before they are clipped and followed, so that
    all keep the same weights. In evaluation each ranks cases of its own, and all get the metrics of all.
    """

    model: Any  # RecBole's trainers have no types

    def __init__(self, config: Config, model: nn.Module) -> None:
        super().__init__(config, model)
        self.eval_collector = TopKCollector(config)
        self._clip: dict[str, Any] | None = None
        if n_processes() > 1:
            if self.enable_scaler:
                raise UserError("enable_scaler=True scales by one process's gradients: leave it out, or start one.")
            self._clip, self.clip_grad_norm = self.clip_grad_norm, None  # RecBole would clip a share's

    def _build_optimizer(self, **kwargs: Any) -> Optimizer:
        optimizer = super()._build_optimizer(**kwargs)
        if n_processes() > 1:
            optimizer.register_step_pre_hook(self._sum_gradients)
        return optimizer

    def _sum_gradients(self, optimizer: Optimizer, *_: object) -> None:
        sum_gradients(self._alike([parameter for group in optimizer.param_groups for parameter in group["params"]]))
        if self._clip:
            parameters = [*self.model.parameters()]
            own = [table.weight for table in split_tables(self.model).values()]
            if own:
                clip_shared_(self._alike(parameters), own, **self._clip)
            else:
                clip_grad_norm_(parameters, **self._clip)

    def _alike(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Those that all processes have alike: not the rows of a table that are one process's."""
        split = self._split()
        return [tensor for tensor in tensors if tensor.data_ptr() not in split]

    def _split(self) -> dict[int, Sequence[int]]:
        """Of what trains, bounds of that of which each process has some rows, by where it lies."""
        return {table.weight.data_ptr(): table.bounds for table in split_tables(self.model).values()}

    def loss(self, interaction: Interaction) -> Tensor:
        """The model's own loss, a mean over cases; of a share, its part of the batch's."""
        loss, share = self.model.calculate_loss(interaction), getattr(interaction, "share", None)
        return loss if share is None else share.part_of("cases") * loss

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Callable | None = None, show_progress: bool = False
    ) -> Any:
        if n_processes() > 1:
            train_data = SharedBatches(train_data)
            if epoch_idx == self.start_epoch:
                trained = [each for group in self.optimizer.param_groups for each in group["params"]]
                first_ones(self._alike([*self.model.state_dict().values(), *trained]))
        return super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: str | None = None, show_progress: bool = False
    ) -> dict | None:
        """As RecBole's, with batches of bounded size and each row as wide as it must be."""
        if isinstance(eval_data, BoundedEvalLoader):
            eval_data.sorts = getattr(self.model, "reads_any_width", False)
            eval_data.is_shared = not split_tables(self.model)  # else each process ranks its items for every row
        self.eval_collector.order = getattr(eval_data, "order", None)
        self.eval_collector.is_shared = n_processes() > 1 and getattr(eval_data, "is_shared", False)
        return super().evaluate(eval_data, load_best_model, model_file, show_progress)

    def _full_sort_batch_eval(self, batched_data: Any) -> tuple:
        for table in split_tables(self.model).values():
            return split_batch(self, table, batched_data)
        return super()._full_sort_batch_eval(batched_data)
