"""Words of the command line: RecBole's for `train`, ordinary arguments for every other command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from recbole_odrec.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose mistakes are a `UserError` like any other bad input."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"recbole-odrec {command}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help.")


# Words that RecBole's own script takes with a blank as well as with `=`.
_SPELLINGS = {"-m": "--model", "-d": "--dataset", "--model": "--model", "--dataset": "--dataset"}
_WITH_BLANK = {**_SPELLINGS, "--config_files": "--config_files"}


class TrainArguments(NamedTuple):
    """What `train` was asked to do."""

    model: str
    dataset: str
    config_files: list[str]
    keys: list[str]
    resume: bool | str


def parse_train_arguments(words: Sequence[str]) -> TrainArguments:
    """Reads RecBole-style arguments; a word RecBole would drop without an error is an error here.

    Raises:
        UserError: the word, and how it is written.
    """
    options = {"--model": "ODRec", "--dataset": "ml-100k", "--config_files": ""}
    keys: list[str] = []
    resume: bool | str = False
    pending = list(words)
    while pending:
        word = pending.pop(0)
        name, equals, value = word.partition("=")
        if name in _WITH_BLANK:
            if not equals:
                if not pending or pending[0].startswith("-"):
                    raise UserError(f"{name} needs a value: {_WITH_BLANK[name]}=VALUE.")
                value = pending.pop(0)
            options[_WITH_BLANK[name]] = value
        elif name == "--resume":
            if equals and not value:
                raise UserError("--resume= names no run folder: --resume=RUN_FOLDER, or --resume for the newest one.")
            resume = value if equals else True
        elif not name.startswith("--") or not equals:
            hint = f"--{name.lstrip('-')}={value or 'VALUE'}"
            raise UserError(f"cannot read `{word}`: keys are written {hint}, with `=` and no blanks.")
        else:
            keys.append(word)
    return TrainArguments(options["--model"], options["--dataset"], options["--config_files"].split(), keys, resume)
