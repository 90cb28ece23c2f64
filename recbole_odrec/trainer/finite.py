"""A training that has left the numbers: one line, before anything of the epoch is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from torch import Tensor, nn

from recbole_odrec.errors import UserError
from recbole_odrec.files import cannot_write
from recbole_odrec.processes.group import agreed, n_processes
from recbole_odrec.processes.shares import summed
from recbole_odrec.screen import FILE_ONLY

Loss = Callable[[Interaction], Tensor | tuple[Tensor, ...]]
_STEPS_UNSEEN = 64  # of an accelerator, between two looks at its losses


def diverged(config: Config, phase: str, epoch: int, what: str) -> UserError:
    """The error of a loss or weight that is NaN or infinite, with what to lower."""
    advice = [f"lower learning_rate={config['learning_rate']}", "set clip_grad_norm={'max_norm': 5}"]
    if config["enable_amp"] or config["score_dtype"] == "bfloat16":
        advice.append("leave enable_amp and score_dtype=bfloat16 out")
    return UserError(f"{phase} epoch {epoch}: {what}; nothing of this epoch is saved: {', or '.join(advice)}.")


def check_loss(config: Config, phase: str, epoch: int, parts: Mapping[str, Tensor]) -> None:
    """Raises a UserError that names the parts of a loss that are NaN or infinite."""
    broken = {name: part.item() for name, part in parts.items() if not torch.isfinite(part).all()}
    if broken:
        shown = ", ".join(f"{name} is {value}" for name, value in broken.items())
        raise diverged(config, phase, epoch, f"the loss has failed ({shown})")


class EpochLoss:
    """The loss of a batch for RecBole's epoch, which asks for its numbers at every step; here they are summed where
    they lie, and the host does not wait for an accelerator.

    On a CPU each part is looked at before it is followed. On an accelerator the sums are, every so many steps and when
    the epoch is over: what is no number stays none.

    Args:
        loss: a batch -> scalar, or several that are summed.
        names: of its parts.
        config, phase, epoch: for the message.
    """

    def __init__(self, loss: Loss, names: tuple[str, ...], config: Config, phase: str, epoch: int) -> None:
        self._loss, self._names = loss, names
        self._check = partial(check_loss, config, phase, epoch)
        self._sums: Tensor | None = None  # float64, one a part
        self._steps = 0

    def __call__(self, interaction: Interaction) -> tuple[_Silent]:
        """The sum of the parts, as RecBole's epoch takes it; of several processes, that of this one's share."""
        parts = self._loss(interaction)
        parts = parts if isinstance(parts, tuple) else (parts,)
        numbers = torch.stack([part.detach().reshape(()) for part in parts]).double()
        if n_processes() > 1:
            numbers = summed(numbers)
        self._sums = numbers if self._sums is None else self._sums + numbers
        self._steps += 1
        if numbers.device.type == "cpu":
            self._check(dict(zip(self._names, numbers, strict=True)))
        elif self._steps % _STEPS_UNSEEN == 0:
            self.sums()
        return (_Silent(sum(parts)),)  # pyright: ignore[reportArgumentType]  # never of none

    def sums(self) -> tuple[float, ...]:
        """Each part, summed over the steps so far.

        Raises:
            UserError: they hold NaN or infinity.
        """
        sums = torch.zeros(len(self._names)) if self._sums is None else self._sums.cpu()
        self._check(dict(zip(self._names, sums, strict=True)))
        return tuple(sums.tolist())


class _Silent:
    """A loss whose number nobody reads off at each step."""

    def __init__(self, loss: Tensor) -> None:
        self._loss = loss

    def __radd__(self, other: float) -> Tensor:
        return other + self._loss

    def item(self) -> float:
        return 0.0


def check_weights(config: Config, phase: str, epoch: int, model: nn.Module) -> None:
    """Raises a UserError that names a weight that is NaN or infinite; a last step can leave them behind a good loss.

    In all processes: rows of a split table are those of one.
    """
    with agreed():
        for name, weight in model.named_parameters():
            if not torch.isfinite(weight).all():
                raise diverged(config, phase, epoch, f"weight {name} holds NaN or infinity")


def watch(trainer: Trainer) -> None:
    """Gives a trainer of RecBole's these checks, and checkpoints that are whole or not there."""
    if not isinstance(trainer, Trainer):  # trees, which have no loss of a batch
        return
    save = trainer._save_checkpoint

    def check(self: Trainer, loss: Tensor) -> None:
        check_loss(self.config, self.config["model"], len(self.train_loss_dict), {"loss": loss.sum()})

    def save_whole(self: Trainer, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        check_weights(self.config, self.config["model"], epoch, self.model)
        path = Path(kwargs.pop("saved_model_file", self.saved_model_file))
        temporary = path.with_name(f".{path.name}.part")
        try:
            save(epoch, verbose=False, saved_model_file=str(temporary), **kwargs)
            temporary.replace(path)
            if verbose:
                self.logger.info(f"Saving current: {path}", extra=FILE_ONLY)
        except (OSError, RuntimeError) as error:  # PyTorch's own writer raises the second
            raise cannot_write(path, error if isinstance(error, OSError) else OSError(str(error))) from error
        finally:
            temporary.unlink(missing_ok=True)

    trainer._check_nan = MethodType(check, trainer)
    trainer._save_checkpoint = MethodType(save_whole, trainer)
