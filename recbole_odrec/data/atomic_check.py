"""Reads the interaction files once before RecBole does, so that a malformed line is named instead of swallowed.

RecBole hands atomic files to pandas, which fills a short line with NaN without a word and reports a long one without
saying what was expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recbole.config import Config
from recbole.utils import FeatureType

from recbole_odrec.errors import UserError

_FIELD_TYPES = [kind.value for kind in FeatureType]


def interaction_files(config: Config) -> list[Path]:
    """The `.inter` files that this configuration reads."""
    folder, name = Path(config["data_path"]), config["dataset"]
    parts = config["benchmark_filename"]
    return [folder / f"{name}.inter"] if parts is None else [folder / f"{name}.{part}.inter" for part in parts]


def check_atomic_files(config: Config) -> None:
    """Checks header, columns, numbers and item ids of every interaction file.

    Raises:
        UserError: the file and line, what stands there and what was expected.
    """
    parts = config["benchmark_filename"]
    if parts is not None and (not isinstance(parts, list) or len(parts) != 3):
        raise UserError(f"benchmark_filename={parts!r}, expected three names: ['train', 'valid', 'test'].")
    needed = {config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]}
    needed.add(config["TIME_FIELD"] if parts is None else config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"])
    for path in interaction_files(config):
        if not path.is_file():
            raise UserError(
                f"{path} does not exist: dataset `{config['dataset']}` needs it; give the folder that holds "
                f"`{config['dataset']}/` with --data_path=FOLDER."
            )
        with path.open(encoding=config["encoding"] or "utf-8") as lines:
            try:
                _check_lines(path, lines, config["field_separator"], needed)
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: not a text file in {error.encoding} ({error.reason}).") from error


def _check_lines(path: Path, lines: Iterator[str], separator: str, needed: set[str]) -> None:
    header = next(lines, "").rstrip("\n").split(separator)
    kinds = {}
    for column in header:
        name, _, kind = column.partition(":")
        if kind not in _FIELD_TYPES:
            raise UserError(
                f"{path}, line 1: column `{column}`, expected `name:type` with a type among {', '.join(_FIELD_TYPES)}."
            )
        kinds[name] = kind
    missing = sorted(needed - set(kinds))
    if missing:
        raise UserError(
            f"{path}, line 1: no column {', '.join(f'`{name}`' for name in missing)}, found "
            f"{', '.join(f'`{name}`' for name in kinds)}; name your columns with --USER_ID_FIELD=, --ITEM_ID_FIELD=, "
            "--TIME_FIELD=."
        )
    wanted = [(index, name, kinds[name]) for index, name in enumerate(kinds) if name in needed]
    number = 1
    for number, line in enumerate(lines, start=2):
        values = line.rstrip("\n").split(separator)
        if len(values) != len(header):
            raise UserError(f"{path}, line {number}: {len(values)} columns, expected {len(header)} as in line 1.")
        for index, name, kind in wanted:
            if not values[index].strip():
                raise UserError(f"{path}, line {number}: `{name}` is empty, expected a {kind}.")
            if kind == "float":
                try:
                    float(values[index])
                except ValueError:
                    raise UserError(
                        f"{path}, line {number}: `{name}` is `{values[index]}`, expected a number."
                    ) from None
    if number == 1:
        raise UserError(f"{path}: no interaction below the header.")
