"""The pipeline: data, teacher, student, evaluation, result. Replaces `recbole.quick_start`, which needs ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from recbole.config import Config
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_odrec.baseline import run_baseline
from recbole_odrec.config import make_config
from recbole_odrec.data.head_tail import head_items
from recbole_odrec.data.preparation import prepare
from recbole_odrec.data.session_dataset import refuse_streamed
from recbole_odrec.data.shared_data import check_shares
from recbole_odrec.data.window_loader import SessionWindowLoader
from recbole_odrec.decided import build_student, decide_followers, take_window
from recbole_odrec.errors import UserError
from recbole_odrec.files import check_writable, remove_temporary, writing_below
from recbole_odrec.model.adapter import ProductTeacher
from recbole_odrec.model.split import decide_split
from recbole_odrec.neighbours import NeighbourModel
from recbole_odrec.parts import FIXED_PARTS, NEIGHBOURS
from recbole_odrec.phases import OnValidation, build_model, finish, phase_report, start_logging
from recbole_odrec.preflight import preflight
from recbole_odrec.processes.checks import check_same_configuration, refuse_baseline, take_device
from recbole_odrec.processes.group import agreed, first_gives, started
from recbole_odrec.registry import OUR_MODELS
from recbole_odrec.run_folder import find_unfinished, identify, new_run_folder
from recbole_odrec.trainer.checkpoint import exists, plain_config
from recbole_odrec.trainer.counting import trainer_of
from recbole_odrec.trainer.distillation import DistillationTrainer
from recbole_odrec.trainer.objectives import check_embeddings, needs_teacher
from recbole_odrec.trainer.phase_log import phase_log
from recbole_odrec.trainer.start import check_start
from recbole_odrec.trainer.student_update import StudentUpdate
from recbole_odrec.trainer.teacher_phase import provide_teacher
from recbole_odrec.trainer.teacher_plan import TeacherPlan, plan_teachers, start_of_plans
from recbole_odrec.trainer.teacher_weights import leave_out_undecidable


def run(
    model: str = "ODRec",
    dataset: str = "ml-100k",
    config_files: Sequence[str] = (),
    config_dict: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
    resume: bool | str = False,
    tests: bool = True,
    on_validation: OnValidation | None = None,
) -> dict[str, Any]:
    """Trains and evaluates one model, ours or RecBole's; ODRec's teacher too.

    Args:
        model: `ODRec`, `SASRecTeacher`, `GRU4RecTeacher` or any RecBole model.
        dataset: data set name: `ml-100k` (comes with RecBole), or a folder of atomic files below `data_path`.
        config_files: YAML files, as RecBole's `config_files`.
        config_dict: keys and values, over the files.
        arguments: `--key=value` words, over both.
        resume: continue the newest unfinished run of this configuration, or the run in the folder given.
        tests: evaluate on the test set; False leaves it unseen (`"test": None`).
        on_validation: called with the run's folder, the epoch and its `valid_metric`; not for a student's teachers.
            What it raises ends the run.

    Returns:
        The content of `result.json`; its own path is `result["path"]`.

    Raises:
        UserError: bad input, in one line.
    """
    with started():
        with agreed():
            config = make_config(model, dataset, config_files, config_dict, arguments)
            take_device(config)
        check_same_configuration({**plain_config(config), "resume": resume})
        return _run(config, resume, tests, on_validation)


def _run(config: Config, resume: bool | str, tests: bool, on_validation: OnValidation | None) -> dict[str, Any]:
    for folder in (config["checkpoint_dir"], "log", "log_tensorboard"):
        first_gives(partial(check_writable, Path(folder)))
    if (model := config["model"]) not in OUR_MODELS:
        if resume:
            raise UserError(f"--resume continues {', '.join(OUR_MODELS)}; RecBole's {model} keeps no exact state.")
        with agreed():
            refuse_baseline(model)
        with writing_below(config["checkpoint_dir"]):
            return run_baseline(config, tests, on_validation)
    run_dir = first_gives(lambda: find_unfinished(config, resume) if resume else None)
    identity = first_gives(lambda: identify(config))
    with writing_below(config["checkpoint_dir"]):
        return _run_ours(config, run_dir, identity, resume, tests, on_validation)


def _run_ours(
    config: Config,
    run_dir: Path | None,
    identity: dict[str, Any],
    resume: bool | str,
    tests: bool,
    on_validation: OnValidation | None,
) -> dict:
    """A run of our models in this folder, or in a new one."""
    with agreed():
        take_window(config)
        train_data, valid_data, test_data = _prepare_data(config, tests)
        decide_followers(config, train_data._dataset, valid_data)
        leave_out_undecidable(config, train_data._dataset, valid_data)
    check_shares(train_data, valid_data, test_data)
    is_of_teacher = bool(FIXED_PARTS.get(config["model"]))
    split = decide_split(config, int(train_data._dataset.item_num)) if is_of_teacher else None
    teachers = _check_models(config, train_data, valid_data, test_data)
    if split is not None:
        config["decided"] = {**config["decided"], "split_table": split}
    # Only now, with all input checked, does the run write anything.
    if run_dir is None:
        run_dir = first_gives(lambda: new_run_folder(config, identity))
    else:
        first_gives(partial(remove_temporary, run_dir))
    start_logging(config, train_data, valid_data, test_data)
    fit = {"show_progress": config["show_progress"]}
    if on_validation:
        fit["callback_fn"] = partial(on_validation, run_dir)
    work = _Work(config, run_dir, train_data, valid_data, test_data, bool(resume), fit)
    phases = _run_odrec(work, teachers) if config["model"] == "ODRec" else {"model": _run_single(work)}
    return finish(config, run_dir, phases)


# ---------------------------------------------------------------------- the three kinds of run


class _Work(NamedTuple):
    """What a run of ours works with: its data in loaders, its folder, how to fit."""

    config: Config
    run_dir: Path
    train_data: SessionWindowLoader
    valid_data: Any
    test_data: Any
    resume: bool
    fit: dict[str, Any]


def _run_odrec(work: _Work, teachers: list[TeacherPlan]) -> dict:
    """Phase 1: the teacher. Phase 2: the student. Then both meet the test set, once."""
    config, run_dir, train_data, valid_data, test_data, resume, fit = work
    phases, teacher = {}, None
    if teachers:
        teacher = provide_teacher(config, train_data, valid_data, run_dir, resume, config["show_progress"], teachers)
    with phase_log(run_dir, "student"):
        # Seeded again: the student is the same whether its teacher was trained just now or reused.
        init_seed(config["seed"], config["reproducibility"])
        trainer = DistillationTrainer(config, build_model(config, train_data), run_dir=run_dir)
        resume = resume and exists(trainer.last_file)
        if teacher is not None:
            trainer.attach_teacher(teacher.model, starts=not resume)
        if resume:
            trainer.resume()
        trainer.fit(train_data, valid_data, **fit)
    trainer.load_best()
    is_head = head_items(train_data._dataset)
    if teacher is not None:
        folder = run_dir / teacher.folder
        teacher.trainer.eval_collector.data_collect(train_data)  # a teacher that was not trained here has not yet
        report = phase_report(teacher.trainer, valid_data, test_data, is_head, folder)
        phases["teacher"] = teacher.described(report)
    phases["student"] = phase_report(trainer, valid_data, test_data, is_head, run_dir / "student")
    return phases


def _run_single(work: _Work) -> dict:
    """A teacher or a neighbourhood model as a recommender of its own."""
    config, run_dir, train_data, valid_data, test_data, resume, fit = work
    with phase_log(run_dir, "model"):
        model = build_model(config, train_data)
        trainer = trainer_of(model)(config, model, run_dir, "model")
        init_seed(config["seed"], config["reproducibility"])
        if resume:
            trainer.resume()
        trainer.fit(train_data, valid_data, **fit)
    trainer.load_best()
    return phase_report(trainer, valid_data, test_data, head_items(train_data._dataset), run_dir / "model")


# ---------------------------------------------------------------------- steps


def _check_models(config: Config, train_data: Any, valid_data: Any, test_data: Any) -> list[TeacherPlan]:
    """Builds student and teachers, so that what cannot run is refused before anything is written."""
    if config["model"] in NEIGHBOURS:
        refuse_streamed(train_data._dataset, config["model"])
    student = build_student(config, lambda: build_model(config, train_data))
    preflight(config, student, train_data, valid_data, test_data)
    if config["update_from"]:
        StudentUpdate(config, student).expect(train_data._dataset)
    if config["model"] != "ODRec" or not needs_teacher(config):
        return []
    teachers = plan_teachers(config, train_data)
    start = teachers[start_of_plans(config, teachers)]
    if config["update_from"] is None:
        check_start(student, start.served, start.config["model"], config["init_from_teacher"])
    for plan in teachers:
        if plan.weights is None and isinstance(plan.served, (ProductTeacher, NeighbourModel)):
            refuse_streamed(train_data._dataset, plan.config["model"])
    check_embeddings(config, any(plan.served.gives_embeddings for plan in teachers))
    for plan in teachers:
        if not isinstance(plan.served, ProductTeacher):  # those of RecBole have been tried when they were built
            preflight(plan.config, plan.model, train_data, valid_data, test_data)
    return teachers


def _prepare_data(config: Config, tests: bool = True) -> tuple[SessionWindowLoader, Any, Any]:
    """Our loader for training, RecBole's for evaluation."""
    train_data, valid_data, test_data = prepare(config, create_dataset, tests)
    return SessionWindowLoader(config, train_data._dataset, config["shuffle"]), valid_data, test_data
