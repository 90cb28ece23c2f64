"""Command line: `run_recbole_odrec.py`, `recbole-odrec` and `python -m recbole_odrec`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module

from recbole_odrec.arguments import CommandParser, parse_train_arguments
from recbole_odrec.errors import UserError, did_you_mean
from recbole_odrec.processes.launch import consequence, is_launched, prints, tell

USAGE = """\
usage: run_recbole_odrec.py --model=MODEL --dataset=DATASET [--resume[=RUN_FOLDER]] [--key=value ...]
       recbole-odrec train --model=MODEL --dataset=DATASET ...
       recbole-odrec tune --model=MODEL --dataset=DATASET [--trials N] [--space FILE] [--key=value ...]
       recbole-odrec summary [--full] saved/*/result.json
       recbole-odrec keys
       recbole-odrec convert --name NAME --train_sessions FILE --test_prefixes FILE
       recbole-odrec export --checkpoint saved/RUN/student/best.pth --output BUNDLE [--precision int8]
       recbole-odrec recommend --bundle BUNDLE ITEM [ITEM ...]
       recbole-odrec delta OLD_BUNDLE NEW_BUNDLE --output FILE
       recbole-odrec recommend --bundle OLD_BUNDLE --update FILE
       recbole-odrec add-items --bundle BUNDLE [--items SESSIONS] [--item_file FILE] [--output FILE]
       recbole-odrec withdraw --bundle BUNDLE --output NEW_BUNDLE [--as_in OLD] [ITEM ...]
       recbole-odrec demo --bundle BUNDLE [--export FOLDER | --export-module FOLDER]
       recbole-odrec benchmark accuracy|train|data|interactions|device|shipping|bounds|user-state|updates|new-items|
                               scale|browser [--help]

  --model=ODRec            ODRec, SASRecTeacher, GRU4RecTeacher, or any RecBole model
  --dataset=ml-100k        ml-100k comes with RecBole; others are folders of atomic files below --data_path
  --config_files='a b'     YAML files, separated by blanks
  --resume[=RUN_FOLDER]    continue the newest unfinished run of this configuration, or this run
  --key=value              any key of RecBole or of properties/model/MODEL.yaml, e.g. --compression_rate=16

Precedence: --key=value, then --config_files, then the property files.
"""


def train(words: Sequence[str]) -> None:
    """`train`: runs the pipeline, prints the table and, last, the path of its result."""
    asked = parse_train_arguments(words)
    with _needs("train"):
        from recbole_odrec.quick_start import run  # late: usage and typing errors answer at once
        from recbole_odrec.result import table

    result = run(asked.model, asked.dataset, asked.config_files, arguments=asked.keys, resume=asked.resume)
    if prints():
        sys.stdout.write(f"\n{table(result)}\n{result['path']}\n")


def tune(words: Sequence[str]) -> None:
    """`tune`: searches keys by validation."""
    with _needs("tune", "tune"):
        from recbole_odrec.tune.command import command

        command(words)


def summary(words: Sequence[str]) -> None:
    """`summary`: one table of several runs, mean over seeds."""
    parser = CommandParser("summary", "One table of several runs, mean and standard deviation over seeds.")
    parser.add_argument("results", nargs="+", metavar="result.json", help="e.g. saved/*/result.json")
    parser.add_argument("--full", action="store_true", help="every metric of the runs, in place of six")
    asked = parser.parse_args(words)
    with _needs("summary"):
        from recbole_odrec.summary import summarize

    sys.stdout.write(f"{summarize(asked.results, asked.full)}\n")


def convert(words: Sequence[str]) -> None:
    """`convert`: published session data into RecBole's session benchmark files."""
    with _needs("convert"):
        from recbole_odrec.data.convert_command import convert

        convert(words)


def export(words: Sequence[str]) -> None:
    """`export`: a checkpoint becomes a folder for a device; prints what it checked and its sizes."""
    with _needs("export", "bundle"):
        from recbole_odrec.bundle.commands import export

        export(words)


def recommend(words: Sequence[str]) -> None:
    """`recommend`: the next items of one session, best first."""
    with _needs("recommend", "bundle"):
        from recbole_odrec.bundle.commands import recommend

        recommend(words)


def of_bundles(command: str, words: Sequence[str]) -> None:
    """`delta`, `add-items` and `withdraw`: the next bundle of a device."""
    with _needs(command, "bundle"):
        from recbole_odrec.bundle import commands

        getattr(commands, command.replace("-", "_"))(words)


def demo(words: Sequence[str]) -> None:
    """`demo`: a web page that recommends from a bundle, in the browser."""
    with _needs("demo", "bundle"):
        from recbole_odrec.demo.command import demo

        demo(words)


def keys(words: Sequence[str]) -> None:
    """`keys`: every key of ours with its default and meaning."""
    CommandParser("keys", "Every key with its default and meaning, as Markdown.").parse_args(words)
    with _needs("keys"):
        from recbole_odrec.keys import reference

        sys.stdout.write(reference())


def benchmark(words: Sequence[str]) -> None:
    """`benchmark NAME`: measurements that go into `results/`."""
    name = words[0] if words else "nothing"
    if name not in _BENCHMARKS:
        raise UserError(f"no benchmark `{name}`{did_you_mean(name, _BENCHMARKS)}: {', '.join(_BENCHMARKS)}.")
    module, extra = _BENCHMARKS[name]
    with _needs(f"benchmark {name}", extra):
        import_module(f"recbole_odrec.benchmark.{module}").command(words[1:])


@contextmanager
def _needs(command: str, extra: str = "") -> Iterator[None]:
    """A package that is not installed is bad input like any other: one line with the way out."""
    try:
        yield
    except UserError:  # some say themselves what to install
        raise
    except ModuleNotFoundError as error:
        if str(error.name).startswith(f"{__package__}."):  # the device's wheel has no such file
            raise UserError(
                f"{command} is a command of the whole package, where bundles are made; this is the device's half of it."
            ) from error
        hint = f"pip install 'recbole_odrec[{extra}]'" if extra else "pip install recbole_odrec"
        raise UserError(f"{command} needs the package {error.name}, which is not installed: {hint}.") from error


# Each with the module that carries it out, and the extra that it needs.
_BENCHMARKS = {
    "accuracy": ("accuracy.command", "plots"),
    "train": ("training_command", ""),
    "data": ("data_memory", ""),
    "interactions": ("interactions", "parquet"),
    "device": ("device_command", "bundle"),
    "shipping": ("shipping", "browser"),
    "bounds": ("bounds", "bundle"),
    "updates": ("updates", "bundle"),
    "new-items": ("new_items", "bundle"),
    "user-state": ("user_state", "bundle"),
    "scale": ("scale_command", "plots"),
    "browser": ("browser_command", "browser"),
}
# Where to go on after an interruption.
_WAYS_ON = {
    "train": "; a run of ours goes on with the same command and --resume",
    "tune": "; the study goes on with the same command",
}
_COMMANDS = {
    "train": train,
    "tune": tune,
    "summary": summary,
    "keys": keys,
    "convert": convert,
    "export": export,
    "recommend": recommend,
    "delta": partial(of_bundles, "delta"),
    "add-items": partial(of_bundles, "add-items"),
    "withdraw": partial(of_bundles, "withdraw"),
    "demo": demo,
    "benchmark": benchmark,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0, 1 where another process has failed, 2 for bad input, 130 when interrupted, 141 where nobody
        reads on.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = words.pop(0) if words[:1] and not words[0].startswith("-") else "train"
    if command == "help" or (command == "train" and {"--help", "-h"} & set(words)):
        sys.stdout.write(USAGE)
        return 0
    try:
        if command not in _COMMANDS:
            raise UserError(f"no command `{command}`{did_you_mean(command, _COMMANDS)}: {', '.join(_COMMANDS)}.")
        if command != "train" and is_launched():  # two searches would train each other's trials, two writers one file
            raise UserError(f"{command} runs in one process: start it without torchrun.")
        _COMMANDS[command](words)
        sys.stdout.flush()
    except BrokenPipeError:  # `.. | head`, as other commands end there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 141
    except UserError as error:
        tell(f"recbole_odrec: {error}\n", error)
        return 2
    except Exception as error:
        if (said := consequence(error)) is None:
            raise
        tell(said, error)
        return 1
    except KeyboardInterrupt as error:
        if command != "demo":  # stopping a server is no interruption
            way_on = _WAYS_ON.get(command, "")
            tell(f"recbole_odrec: interrupted{way_on}.\n", error)
        return 130
    return 0
