"""Which teachers a run has: built and tried before any time is spent on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.utils import init_seed
from torch import nn

from recbole_odrec.config import model_keys, teacher_config, teacher_configs
from recbole_odrec.config.resolve import start_of
from recbole_odrec.config.stored import check_stored
from recbole_odrec.errors import UserError
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.model.split import decide_split
from recbole_odrec.neighbours import NeighbourModel
from recbole_odrec.nn.kinds import KINDS, network_part
from recbole_odrec.parsing import parse
from recbole_odrec.processes.group import n_processes
from recbole_odrec.registry import model_class
from recbole_odrec.trainer import checkpoint
from recbole_odrec.trainer.objectives import splits_teacher


@dataclass
class TeacherPlan:
    """A teacher that can serve, before any training.

    Attributes:
        config, model: its configuration and network.
        weights: their file if it is given.
        share: how much its scores count beside the other teachers', or `auto`.
        phase: name of its folder in the run's.
    """

    config: Config
    model: Any
    weights: Path | None
    share: float | str
    phase: str

    @property
    def served(self) -> Any:
        """The model as distillation uses it."""
        return served(self.model)


def plan_teachers(config: Config, train_data: Any) -> list[TeacherPlan]:
    """Builds the teachers of the list and finds out whether they can serve; writes nothing.

    Raises:
        UserError: a teacher that cannot serve, or a checkpoint that is missing, corrupt or of another item set.
    """
    plans, is_followed = [], _is_followed(config)
    for number, (entry, phase_config) in enumerate(zip(config["teachers"], teacher_configs(config), strict=True)):
        file, state = Path(entry["checkpoint"]) if phase_config is None else None, {}
        if file is not None:
            state = checkpoint.load_model(file, in_parts=True)
            phase_config = _config_of_checkpoint(config, file, state, train_data, entry.get("parts", []))
        model = _build(phase_config, train_data, file is None, is_followed)
        if file is not None:
            checkpoint.load_weights(model, state["state_dict"], file, state["n_items"])
        phase = f"teacher-{number + 1}" if number else "teacher"
        plans.append(TeacherPlan(phase_config, model, file, entry.get("weight", 1), phase))
    return plans


def start_of_plans(config: Config, plans: Sequence[TeacherPlan]) -> int:
    """Place of the teacher that the student starts from."""
    return start_of(config["starts_from"], [{"model": plan.config["model"]} for plan in plans])


def _is_followed(config: Config) -> bool:
    """Whether the student's table has one train along that begins with the teacher's."""
    table: Any = network_part("table", config, {})
    return table.splits_companion and bool(getattr(parse(table.Settings, config), "move_codes_every", 0))


def _build(phase_config: Config, train_data: Any, trains: bool, is_followed: bool) -> Any:
    """The untrained model; a RecBole model is tried as a teacher before any time is spent on it."""
    kind = model_class(phase_config["model"])
    reason = None
    if getattr(kind, "fixed_parts", {}).get("table") == "dense":
        reason = decide_split(phase_config, int(train_data._dataset.item_num), trains, is_followed)
    init_seed(phase_config["seed"], phase_config["reproducibility"])
    try:
        model = kind(phase_config, train_data._dataset).to(phase_config["device"])
    except UserError:
        raise
    except Exception as error:  # a model of another kind misses its own settings or features in any way
        reason = " ".join(str(error).split())
        raise UserError(
            f"{kind.__name__} cannot be the teacher: it could not be built from this data "
            f"({type(error).__name__}: {reason})."
        ) from error
    if reason is not None:
        model.decided["split_table"] = reason
    if isinstance(served(model), ProductTeacher) and trains and n_processes() > 1:
        raise UserError(
            f"{kind.__name__} of RecBole trains in one process: train it without torchrun and give its file, "
            "teachers: [{checkpoint: saved/../best.pth}]."
        )
    return model


def _config_of_checkpoint(
    config: Config, path: Path, state: dict[str, Any], train_data: Any, parts: Sequence[str]
) -> Config:
    """The configuration that rebuilds the network stored in a checkpoint of an earlier run."""
    model_class(state["model"])  # refuses what is no model's name
    n_items = int(train_data._dataset.item_num)
    if state["items"] != checkpoint.item_fingerprint(train_data._dataset):
        raise UserError(
            f"{path}: this {state['model']} was trained on another item set ({state['n_items']} items, this data has "
            f"{n_items}); train a teacher on {config['dataset']} or give the data it was trained on."
        )
    network = {key: state["config"][key] for key in model_keys(state["model"]) if key in state["config"]}
    taken = {**network, "MAX_ITEM_LIST_LENGTH": state["config"]["MAX_ITEM_LIST_LENGTH"]}
    asked = [*parts, *(config[kind] for kind in KINDS)]
    check_stored(taken, path, asked, "{{checkpoint: .., parts: ['{}']}}")
    phase_config = teacher_config(config, state["model"], {}, network)
    longest, ours = state["config"]["MAX_ITEM_LIST_LENGTH"], config["MAX_ITEM_LIST_LENGTH"]
    if longest < ours:
        raise UserError(
            f"{path}: this {state['model']} reads sessions of at most {longest} items, this run has "
            f"MAX_ITEM_LIST_LENGTH={ours}; set it to {longest} or less."
        )
    phase_config["MAX_ITEM_LIST_LENGTH"] = longest
    if not splits_teacher(config):
        phase_config["split_table"] = False
    return phase_config


def served(model: nn.Module) -> Any:
    """The model with the parts that distillation uses: `training_cases`, `item_table`, and what it says it gives."""
    return model if isinstance(model, (SessionRecommender, NeighbourModel)) else ProductTeacher(model)
