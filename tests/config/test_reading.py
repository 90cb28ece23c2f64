"""Arguments and YAML are read as data: what they mean, and that nothing in them runs, by whatever route it comes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recbole.config import Config

from recbole_odrec.arguments import TrainArguments, parse_train_arguments
from recbole_odrec.bundle.export import export_bundle
from recbole_odrec.config import config_of, make_config, reading
from recbole_odrec.config.layers import Resolved, known_keys
from recbole_odrec.config.properties import recbole_properties
from recbole_odrec.config.reading import read_word, read_yaml
from recbole_odrec.config.resolve import differences, resolve, resolve_teacher
from recbole_odrec.errors import UserError
from recbole_odrec.trainer import checkpoint

CODE = "__import__('pathlib').Path('pwned').touch()"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2", -2),
        ("1_000", 1000),
        ("[169,241]", [169, 241]),
        ("(1, 2)", [1, 2]),
        ("{'a': 1}", {"a": 1}),
        ("{a: 1e-3, b: [x, ~]}", {"a": 0.001, "b": ["x", None]}),
        ("True", True),
        ("true", True),
        ("FALSE", False),
        ("None", None),
        ("~", None),
        ("null", None),
        ("none", "none"),
        ("'quoted'", "quoted"),
        ("", ""),
        ("yes", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("010", "010"),
        ("2*3", "2*3"),
        ("{'mode'='full'}", "{'mode'='full'}"),
        ("[5,inf)", "[5,inf)"),
        ("{1, 2}", {1: None, 2: None}),
        (CODE, CODE),
        ("[" * 300, "[" * 300),
    ],
)
def test_what_an_argument_means(text: str, value: object) -> None:
    assert read_word(text) == value
    assert type(read_word(text)) is type(value)


def test_yaml_is_read_as_recbole_reads_it_but_for_tags_and_dates(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: 1e-3\nb: [1.5e3, -2E4, 1.]\nc: on\nd: 2024-01-01\ne: '1e-3'\nf: ~\ng: .inf\n")
    theirs = yaml.load(file.read_text(), Loader=Config._build_yaml_loader(Config.__new__(Config)))
    ours = read_yaml(file)
    assert ours == {**theirs, "d": "2024-01-01"}
    for text, message in (
        ("a: !!python/object/apply:pathlib.Path [x]\n", "is not YAML: could not determine a constructor"),
        ("a: [1\n", "is not YAML: "),
        ("- 1\n", "holds list, expected lines `key: value`"),
        ("a: &a [*a]\n", "is not YAML: "),
        ("? [1, 2]\n: 3\n", "is not YAML: "),
        ("a: {? {b: 1} : 2}\n", "is not YAML: "),
    ):
        file.write_text(text)
        with pytest.raises(UserError) as error:
            read_yaml(file)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    file.write_bytes(b"a: \xff\n")
    with pytest.raises(UserError, match="is not YAML: 'utf-8' codec can't decode"):
        read_yaml(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)


# ---------------------------------------------------------------------- nothing is executed


def _by_argument(model: str, key: str, path: Path) -> Resolved:
    return resolve(model, "ml-100k", arguments=[f"--{key}={CODE}"])


def _by_dictionary(model: str, key: str, path: Path) -> Resolved:
    return resolve(model, "ml-100k", config_dict={key: CODE})


def _by_file(model: str, key: str, path: Path) -> Resolved:
    file = path / "a.yaml"
    file.write_text(yaml.safe_dump({key: CODE}))
    return resolve(model, "ml-100k", [str(file)])


def _by_teacher(model: str, key: str, path: Path) -> Resolved:
    model = "SASRecTeacher" if model == "ODRec" else model
    run = resolve("ODRec", "ml-100k", config_dict={"teachers": [{"model": model, key: CODE}]})
    return resolve_teacher(run, run.values["teachers"][0]["model"], differences(run.values["teachers"][0]))


def _by_checkpoint(model: str, key: str, path: Path) -> Resolved:
    """As a checkpoint holds it that is to be a teacher."""
    model = "SASRecTeacher" if model == "ODRec" else model
    return resolve_teacher(STUDENT, model, {}, {key: CODE})


STUDENT = resolve("ODRec", "ml-100k")


@pytest.mark.parametrize(
    "route", [_by_argument, _by_dictionary, _by_file, _by_teacher, _by_checkpoint], ids=lambda of: of.__name__[1:]
)
def test_no_key_executes_anything_by_any_route(route: Callable[[str, str, Path], Resolved], tmp_path: Path) -> None:
    """Every key there is: a word stays the word, or is refused in one line."""
    asked = [
        ("ODRec", key) for key in known_keys("ODRec", "ml-100k") | {"teachers", "teacher", "preset", "no_such_key"}
    ]
    for model in ("GRU4Rec", "KD_DAGFM"):  # the last evaluates its `teacher` itself
        words = {key for key, value in recbole_properties(model, "ml-100k").items() if isinstance(value, str)}
        asked += [(model, key) for key in words]
    kept = set()
    for model, key in asked:
        found, message = _outcome(partial(route, model, key, tmp_path))
        if found is None:
            assert "\n" not in message, key
        elif found.values.get(key) == CODE:
            kept.add(key)
    assert "teacher" not in kept
    if route is _by_teacher:  # an entry has no say in data and machine
        assert not {"USER_ID_FIELD", "data_path"} & kept
    else:
        assert {"USER_ID_FIELD", "wandb_project", "data_path"} <= kept
        for key in ("wandb_project", "USER_ID_FIELD"):
            assert config_of(route("ODRec", key, tmp_path))[key] == CODE
    assert not Path("pwned").exists()


def _outcome(act: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return act(), ""
    except UserError as error:
        return None, str(error)


def test_a_plain_script_and_an_exported_checkpoint_execute_nothing(odrec_run: dict, tmp_path: Path) -> None:
    config = Config(model="ODRec", dataset="ml-100k", config_dict={"wandb_project": CODE})
    assert config["wandb_project"] == CODE
    path = Path(odrec_run["phases"]["student"]["checkpoint"])
    state = checkpoint.load(path)
    for key in ("data_path", "readout", "encoder", "table", "metrics", "USER_ID_FIELD", "wandb_project"):
        changed = {**state, "config": {**state["config"], key: [CODE] if key == "metrics" else CODE}}
        checkpoint.save(tmp_path / "changed.pth", changed)
        _, message = _outcome(partial(export_bundle, str(tmp_path / "changed.pth"), str(tmp_path / f"out-{key}")))
        assert "\n" not in message
    assert not Path("pwned").exists()


def test_sys_argv_is_not_evaluated_for_our_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["script.py", f"--wandb_project={CODE}"])
    assert Config(model="ODRec", dataset="ml-100k")["wandb_project"] == CODE
    assert make_config("SASRecTeacher", "ml-100k")["wandb_project"] == "recbole"
    monkeypatch.setattr("sys.argv", ["script.py", f"--nosuch={CODE}", "--epochs=4", "word"])  # a script's own words
    config = Config(model="ODRec", dataset="ml-100k")
    assert (config["nosuch"], config["epochs"]) == (None, 4)
    assert not Path("pwned").exists()


def test_pickles_that_lie_about_are_not_read(small_config: Callable[..., Config]) -> None:
    """RecBole opens `saved/<data set>-<class>.pth` and the like where they are."""
    from recbole.data import create_dataset, data_preparation

    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (Path("pwned"),))

    import pickle

    Path("saved").mkdir()
    for model, kind in (("ODRec", "SessionDataset"), ("GRU4Rec", "SequentialDataset")):
        for name in (f"ml-small-{kind}", f"ml-small-for-{model}-dataloader"):
            Path(f"saved/{name}.pth").write_bytes(pickle.dumps(Bomb()))
        further = {} if model == "ODRec" else {"loss_type": "CE", "train_neg_sample_args": None, "hidden_size": 16}
        config = small_config(model, **further)
        assert data_preparation(config, create_dataset(config))
    assert not Path("pwned").exists()


# ---------------------------------------------------------------------- any argument

# YAML has no others; and 1e3, which we read as a number, it writes as a word without quotes.
PRINTABLE = st.text(max_size=6).filter(lambda text: text.isprintable() and not reading._EXPONENT.match(text))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PRINTABLE,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(PRINTABLE, parts, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(VALUES)
def test_a_value_written_in_python_or_yaml_is_that_value(value: Any) -> None:
    assert read_word(repr(value)) == value
    if isinstance(value, (list, dict)):
        written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).strip()
        assert read_word(written) == value
        assert read_word(json.dumps(value, ensure_ascii=False)) == value


def _oracle(text: str) -> Any:
    """What plain words and numbers mean, written down a second time."""
    words = {"true": True, "false": False, "null": None, "~": None, "none": "none"}
    if text == "None":
        return None
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        is_literal = text.lstrip("+-")[:1].isdigit() or text.lstrip("+-")[:1] == "."
        return number if is_literal and math.isfinite(number) else text
    return text


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["true", "FALSE", "None", "none", "null", "~", "inf", "nan", "-inf", "1e-3", "1.", ".5", "-7"])
    | st.from_regex(r"[a-zA-Z/._][a-zA-Z0-9/._-]{0,8}", fullmatch=True)
    | st.integers(0, 10**9).map(str)
)
def test_a_plain_word_is_read_as_an_independent_reader_reads_it(text: str) -> None:
    assert repr(read_word(text)) == repr(_oracle(text))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=12) | st.text(max_size=8).map(lambda text: f"--epochs={text}"), max_size=4))
def test_any_words_are_read_or_refused_in_one_line(words: list[str]) -> None:
    def act() -> tuple[TrainArguments, Resolved]:
        asked = parse_train_arguments(words)
        return asked, resolve(asked.model, asked.dataset, asked.config_files, arguments=asked.keys)

    found, message = _outcome(act)
    if found is None:
        assert message
        assert "\n" not in message
        return
    asked, run = found
    assert asked.keys == [word for word in words if word.startswith("--epochs=")]
    assert run.given.get("epochs") == (int(asked.keys[-1].partition("=")[2]) if asked.keys else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1\nseed: 2\nepochs: 3\n", "`epochs` stands there twice, again in line 3"),
        ("eval_args: {order: TO, order: RO}\n", "`order` stands there twice, again in line 1"),
        ("5: 3\n", "unknown key `5` for ODRec."),
        ("on: 3\n", "unknown key `True` for ODRec."),
        ("teachers: [{model: SASRecTeacher, 5: 1}]\n", "unknown key `5` for SASRecTeacher."),
    ],
)
def test_a_key_is_a_word_and_stands_once(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        resolve("ODRec", "ml-small", [str(tmp_path / "given.yaml")])


def test_keys_that_are_merged_in_are_none_given_twice(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(tmp_path / "given.yaml") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


def test_a_teacher_hears_only_words(small_config: Callable[..., Config]) -> None:
    student = resolve("ODRec", "ml-100k", config_dict={"wandb_project": CODE})
    assert resolve_teacher(student, "SASRecTeacher", {}).values["wandb_project"] == CODE
    assert not Path("pwned").exists()
