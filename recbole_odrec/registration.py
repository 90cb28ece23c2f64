"""Makes RecBole find our models, their trainers and data sets by name.

RecBole resolves names by convention: `get_model` imports `recbole.model.<package>.<lower-case name>`, which
`import_hooks` answers and which calls `register`; `get_trainer` and `create_dataset` look for `<Model>Trainer` and
`<Model>Dataset` in a module, where they find the entry that `register` has put there.
"""

from __future__ import annotations

import recbole.data.dataset
import recbole.model.sequential_recommender
import recbole.trainer

from recbole_odrec.data.session_dataset import SessionDataset
from recbole_odrec.model import GRU4RecTeacher, ODRec, SASRecTeacher
from recbole_odrec.neighbours import NEIGHBOUR_MODELS
from recbole_odrec.trainer.counting import CountingTrainer
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.resumable import ResumableTrainer

_TRAINERS = {
    ODRec: DistillationTrainer,
    SASRecTeacher: ResumableTrainer,
    GRU4RecTeacher: ResumableTrainer,
    **dict.fromkeys(NEIGHBOUR_MODELS.values(), CountingTrainer),
}

OUR_CLASSES = {model.__name__.lower(): model for model in _TRAINERS}  # by the name of the module RecBole imports


def register() -> None:
    """Registers everything; safe to call more than once."""
    for model, trainer in _TRAINERS.items():
        setattr(recbole.model.sequential_recommender, model.__name__, model)
        setattr(recbole.trainer, f"{model.__name__}Trainer", trainer)
        setattr(recbole.data.dataset, f"{model.__name__}Dataset", SessionDataset)
