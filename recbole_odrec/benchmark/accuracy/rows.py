"""What is compared: one row a model, with the settings in which it differs from its property files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recbole_odrec.registry import OUR_MODELS

KINDS = ("RecBole", "teacher", "student")  # in the order of the tables


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: of its files and on the command line.
        title: what the table calls it.
        model: ODRec, one of our teachers, or a RecBole model.
        settings: keys over the property files, `properties/dataset/*.yaml` included.
        on: further keys by data set; `settings` goes over them.
        teacher: name of the row whose model is the teacher; "" for none. With `n_teachers` in `settings`, those of
            other seeds teach as well.
        beside: rows whose models of the same seed teach beside it.
        teaches: name of the row whose several teachers this is, measured in its runs; "" where a row has its own.
        is_bold: run with three seeds, first of all.
        is_aside: what one part is worth, or was before something better: in the long tables alone.
    """

    name: str
    title: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    teacher: str = ""
    beside: tuple[str, ...] = ()
    teaches: str = ""
    is_bold: bool = False
    is_aside: bool = False

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        if self.model not in OUR_MODELS:
            return "RecBole"
        return "student" if self.model == "ODRec" else "teacher"


TEACHER, STUDENT, CODES = "sasrec-teacher", "odrec-30x", "codes-30x"
SEEDS = (1, 2, 3)

# RecBole's models at the size of ours; early stopping finds the epochs. CORE has RecBole's learning rate; with it STAMP
# on Tmall was still at 9.8 % NDCG@10 after eight epochs, so the others take the larger steps of our teachers.
_STEPS = {"learning_rate": 0.005, "epochs": 6}
_RECBOLE = {
    "train_batch_size": 512,
    "stopping_step": 1,
    "enable_amp": True,  # bfloat16 products, as ours have; not where they are slow
    "fused_loss": True,  # the same loss, up to twice as fast
    "loss_type": "CE",
    "train_neg_sample_args": None,
}
# Less padding, nearly twice as fast again; SASRec and CORE ran on Tmall before there was such a thing.
_BUCKETS = {"bucket_by_length": True}
_BUCKETS_ON = {"retailrocket": _BUCKETS}
_ONE_LAYER = {"hidden_size": 128, "inner_size": 128, "n_layers": 1, "n_heads": 1}
# What a table needs where the data set's own properties are those of the other one.
_CODES = {"table": "codes", "init_from_teacher": True, "n_teachers": 1}
_TENSOR_TRAIN = {"table": "tensor_train", "init_from_teacher": False, "n_teachers": 1}
_ONE_TEACHER_ON_TMALL = {
    "learning_rate": 0.005,
    "epochs": 4,
    "item_skip_prob": 0.5,
    "session_jump_prob": 0.0,
    "kd_weight": 0.5,
    "contrastive_weight": 0.2,
}
# A student of one teacher, or of three of a kind, was trained with their dropout.
_DROPOUT = {"hidden_dropout_prob": 0.3, "item_dropout_prob": 0.3, "attn_dropout_prob": 0.5}
_NO_DROPOUT = dict.fromkeys(_DROPOUT, 0.0)
# Cores that start from the teacher's table, each item in the cell where they come closest to it.
_ASSIGNED = {**_CODES, **_NO_DROPOUT, "table": "tensor_train", "item_order": "assigned", "learning_rate": 0.004}
_CODES_ON = {
    "tmall": {**_ONE_TEACHER_ON_TMALL, "learning_rate": 0.002, "epochs": 2, "move_codes_every": 0},
    "retailrocket": _DROPOUT,
}
_TENSOR_TRAIN_ON = {
    "tmall": _ONE_TEACHER_ON_TMALL,
    "retailrocket": {
        **_DROPOUT,
        "epochs": 2,
        "learning_rate": 0.005,
        "item_skip_prob": 0.2,
        "session_jump_prob": 0.0,
        "kd_weight": 0.5,
        "contrastive_weight": 0.2,
    },
}
_STILL_ON = {
    **_CODES_ON,
    "retailrocket": {
        **_DROPOUT,
        "epochs": 2,
        "learning_rate": 0.001,
        "session_jump_prob": 0.0,
        "move_codes_every": 0,
        "contrastive_weight": 0.2,
    },
}
# Without repeat scores a teacher must find every next item in its table: on Tmall it learns longer, and new items too.
_NO_REPEAT_ON = {
    "tmall": {
        "epochs": 3,
        "stopping_step": 3,
        "hidden_dropout_prob": 0.5,
        "item_dropout_prob": 0.5,
        "item_skip_prob": 0.0,
        "learning_rate_decay": "none",
        "average_decay": 0.0,
    }
}
# Items found by direction alone, as in CORE: new ones too, and a second look at a session does less harm.
_COSINE = {"repeat_scores": False, "normalize_items": True, "table_dropout_prob": 0.2}
_COSINE_ON = {"tmall": {"epochs": 5, "stopping_step": 1, "item_skip_prob": 0.2}}
_SHARES_ON = {"tmall": {"teacher_weights": [1, 2]}, "retailrocket": {"teacher_weights": [1, 1]}}
_UNTAUGHT = {"kd_weight": 0.0, "contrastive_weight": 0.0}


def _width(size: int) -> dict[str, Any]:
    """A network so wide, its item vectors of length one to begin with."""
    return {"hidden_size": size, "inner_size": size, "initializer_range": size**-0.5}


def _student(name: str, title: str, is_bold: bool = False, is_aside: bool = False, **settings: Any) -> Row:
    settings = {**_TENSOR_TRAIN, **settings}
    return Row(name, title, "ODRec", settings, _TENSOR_TRAIN_ON, TEACHER, is_bold=is_bold, is_aside=is_aside)


def _codes_student(name: str, title: str, is_bold: bool = False, is_aside: bool = False, **settings: Any) -> Row:
    settings = {**_CODES, **settings}
    return Row(name, title, "ODRec", settings, _CODES_ON, TEACHER, is_bold=is_bold, is_aside=is_aside)


ROWS = {
    row.name: row
    for row in (
        Row(TEACHER, "SASRecTeacher", "SASRecTeacher", is_bold=True),
        _student(STUDENT, "ODRec, tensor train, 30x", is_bold=True),
        _codes_student(CODES, "ODRec, codes, 30x", is_bold=True),
        _student("odrec-10x", "ODRec, tensor train, 10x", compression_rate=10),
        _student("odrec-100x", "ODRec, tensor train, 100x", compression_rate=100),
        _student("odrec-300x", "ODRec, tensor train, 300x", compression_rate=300),
        Row("teacher-64", "SASRecTeacher, 64 wide", "SASRecTeacher", _width(64), is_aside=True),
        Row(
            "codes-30x-64", "ODRec, codes, 30x, 64 wide", "ODRec",
            {**_CODES, **_width(64), "compression_rate": 15, "epochs": 2}, _CODES_ON, "teacher-64",
            is_aside=True,
        ),
        Row("teachers-3", "SASRecTeacher, mean of three", "SASRecTeacher", teaches="codes-30x-3", is_aside=True),
        _codes_student("codes-30x-3", "ODRec, codes, 30x, three teachers", is_bold=True, is_aside=True, n_teachers=3),
        Row("teachers-2", "SASRecTeacher, mean of two kinds", "SASRecTeacher", teaches="codes-30x-2"),
        Row(  # Tmall's default
            "codes-30x-2", "ODRec, codes, 30x, two teachers", "ODRec",
            {**_CODES, "teacher_weights": [1, 2]}, {}, "teacher-no-repeat", (TEACHER,), is_bold=True,
        ),
        Row("teacher-cosine", "SASRecTeacher, cosine", "SASRecTeacher", _COSINE, _COSINE_ON, is_bold=True),
        Row("teachers-cosine", "SASRecTeacher, cosine and repeat scores", "SASRecTeacher", teaches="codes-30x-cosine"),
        Row(
            "codes-30x-cosine", "ODRec, codes, 30x, cosine and repeat teachers", "ODRec",
            {**_CODES, **_NO_DROPOUT}, _SHARES_ON, "teacher-cosine", (TEACHER,), is_bold=True,
        ),
        Row(
            "codes-100x-cosine", "ODRec, codes, 100x, cosine and repeat teachers", "ODRec",
            {**_CODES, **_NO_DROPOUT, "compression_rate": 100}, _SHARES_ON, "teacher-cosine", (TEACHER,),
        ),
        Row(
            "teacher-cosine-256", "SASRecTeacher, cosine, 256 wide", "SASRecTeacher", {**_COSINE, **_width(256)},
            is_bold=True,
        ),
        Row(
            "teachers-cosine-256", "SASRecTeacher, cosine 256 and repeat scores", "SASRecTeacher",
            teaches="codes-30x-cosine-256", is_aside=True,
        ),
        Row(
            "codes-30x-cosine-256", "ODRec, codes, 30x, 256 wide", "ODRec",
            {**_CODES, **_NO_DROPOUT, **_width(256)}, _SHARES_ON, "teacher-cosine-256", (TEACHER,),
        ),
        Row(  # a student narrower than one of its teachers: 31 times smaller than that one
            "codes-15x-cosine-3", "ODRec, codes, 15x, cosine 256, cosine and repeat teachers", "ODRec",
            {**_CODES, **_NO_DROPOUT, "compression_rate": 15},
            {"retailrocket": {"teacher_weights": [1, 1, 1]}}, "teacher-cosine", (TEACHER, "teacher-cosine-256"),
            is_aside=True,
        ),
        Row(  # RetailRocket's default: two kinds of encoder teach more together than two ways to score
            "codes-30x-gru", "ODRec, codes, 30x, cosine and GRU teachers", "ODRec",
            {**_CODES, **_NO_DROPOUT}, _SHARES_ON, "teacher-cosine", ("gru4rec-teacher",), is_bold=True,
        ),
        Row("teachers-gru", "SASRecTeacher, cosine, and GRU4RecTeacher", "SASRecTeacher", teaches="codes-30x-gru"),
        Row(
            "codes-15x-gru-3", "ODRec, codes, 15x, cosine 256, cosine and GRU teachers", "ODRec",
            {**_CODES, **_NO_DROPOUT, "compression_rate": 15},
            {"retailrocket": {"teacher_weights": [1, 1, 1]}},
            "teacher-cosine", ("gru4rec-teacher", "teacher-cosine-256"), is_bold=True,
        ),
        Row(
            "teachers-gru-3", "SASRecTeacher, cosine, of two widths, and GRU4RecTeacher", "SASRecTeacher",
            teaches="codes-15x-gru-3",
        ),
        Row(
            "codes-100x-cosine-256", "ODRec, codes, 100x, 256 wide", "ODRec",
            {**_CODES, **_NO_DROPOUT, **_width(256), "compression_rate": 100},
            _SHARES_ON, "teacher-cosine-256", (TEACHER,),
        ),
        Row(
            "odrec-30x-cosine", "ODRec, tensor train, 30x, cosine and repeat teachers", "ODRec",
            _ASSIGNED, _SHARES_ON, "teacher-cosine", (TEACHER,), is_aside=True,
        ),
        Row(
            "odrec-30x-cosine-256", "ODRec, tensor train, 30x, 256 wide", "ODRec",
            {**_ASSIGNED, **_width(256)}, _SHARES_ON, "teacher-cosine-256", (TEACHER,),
        ),
        Row(  # its cores in int8 are as small as codes at 30x
            "odrec-8x-gru", "ODRec, tensor train, 8x, cosine and GRU teachers", "ODRec",
            {**_ASSIGNED, "compression_rate": 8}, _SHARES_ON, "teacher-cosine", ("gru4rec-teacher",), is_aside=True,
        ),
        _codes_student("codes-100x", "ODRec, codes, 100x", is_aside=True, compression_rate=100),
        Row(
            "core", "CORE", "CORE",
            {
                **_RECBOLE, **_ONE_LAYER, "embedding_size": 128, "temperature": 0.07, "DNN_type": "trm",
                "learning_rate": 0.001, "epochs": 12,
            },
            _BUCKETS_ON,
        ),
        Row(
            "sasrec", "SASRec", "SASRec",
            {**_RECBOLE, **_STEPS, **_ONE_LAYER, "hidden_dropout_prob": 0.5, "attn_dropout_prob": 0.5},
            _BUCKETS_ON,
        ),
        Row(  # on RetailRocket the larger steps diverge: a loss of 11.9 after one epoch, chance is 10.5
            "narm", "NARM", "NARM",
            {**_RECBOLE, **_BUCKETS, "embedding_size": 128, "hidden_size": 128},
            {"tmall": _STEPS, "retailrocket": {"learning_rate": 0.002, "epochs": 8}},
        ),
        Row(
            "stamp", "STAMP", "STAMP",
            {**_RECBOLE, **_BUCKETS, "embedding_size": 128},
            {"tmall": {"learning_rate": 0.002, "epochs": 10}, "retailrocket": _STEPS},
        ),
        Row(
            "gru4rec", "GRU4Rec", "GRU4Rec",
            {**_RECBOLE, **_STEPS, **_BUCKETS, "embedding_size": 128, "hidden_size": 128, "num_layers": 1},
        ),
        Row("gru4rec-teacher", "GRU4RecTeacher", "GRU4RecTeacher", is_bold=True),
        Row(
            "teacher-no-repeat", "SASRecTeacher without repeat scores", "SASRecTeacher",
            {"repeat_scores": False}, _NO_REPEAT_ON,
        ),
        Row(
            "teacher-soft-attention", "SASRecTeacher with the paper's read-out", "SASRecTeacher",
            {"readout": "soft_attention", "initializer_range": 0.02}, is_aside=True,
        ),
        Row("paper-teacher", "SASRecTeacher as in the paper", "SASRecTeacher", {"preset": "paper"}, is_aside=True),
        # Codes as k-means put them, trained on sessions as they are; on Tmall they are so anyway.
        Row("codes-30x-still", "ODRec, fixed codes, 30x", "ODRec", _CODES, _STILL_ON, TEACHER, is_aside=True),
        Row(
            "codes-15x-still", "ODRec, fixed codes, 15x", "ODRec",
            {**_CODES, "compression_rate": 15}, _STILL_ON, TEACHER, is_aside=True,
        ),
        _student("odrec-30x-alone", "ODRec, 30x, without distillation", is_aside=True, **_UNTAUGHT),
        _student("odrec-30x-no-soft-targets", "ODRec, 30x, without soft targets", is_aside=True, kd_weight=0.0),
        _student("odrec-30x-no-contrastive", "ODRec, 30x, without contrastive", is_aside=True, contrastive_weight=0.0),
        _student("odrec-30x-predictive", "ODRec, 30x, with predictive", is_aside=True, predictive_weight=0.001),
        _student("odrec-30x-tt", "ODRec, 30x, plain tensor train (t = 1)", is_aside=True, stp_factor=1),
        Row("teacher-16", "SASRecTeacher, 16 wide", "SASRecTeacher", _width(16)),
        Row("teacher-4", "SASRecTeacher, 4 wide", "SASRecTeacher", _width(4)),
    )
}  # fmt: skip
