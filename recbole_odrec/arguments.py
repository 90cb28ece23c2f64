"""Arguments of every command but `train`, whose words are RecBole's."""

from __future__ import annotations

import argparse
from typing import NoReturn

from recbole_odrec.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose mistakes are a `UserError` like any other bad input."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"recbole-odrec {command}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help.")
