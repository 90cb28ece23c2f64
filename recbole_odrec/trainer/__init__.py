"""Training: RecBole's `Trainer` with exact resume, and the two phases of distillation."""

from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.resumable import ResumableTrainer

__all__ = ["DistillationTrainer", "ResumableTrainer"]
