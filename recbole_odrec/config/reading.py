"""Values as people write them: YAML files and `--key=value` words. Read as data; nothing is ever evaluated."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from recbole_odrec.errors import UserError


class _Loader(yaml.SafeLoader):
    """YAML as RecBole reads it, `1e-3` is a number, except that dates stay words and no tag makes an object.

    A key that stands twice in one place is an error: PyYAML would take the last and drop the first.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ValueError(f"`{key.value}` stands there twice, again in line {key.start_mark.line + 1}")
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_FLOAT, _DATE = "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != _DATE]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_EXPONENT = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")  # which YAML 1.1 takes for a word
_Loader.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+0123456789"))

# What YAML calls nothing and, in any case, True and False; `none` is a word.
_WORDS = {"": "", "~": None, "null": None, "true": True, "false": False}
_NOT_READ = (yaml.YAMLError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Keys and values of a YAML file.

    Raises:
        UserError: the file is missing, no YAML, or no table of keys.
    """
    try:
        found = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
        values = {} if found is None else plain(found)
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UserError(f"configuration file {path} {reason}.") from error
    except _NOT_READ as error:
        raise UserError(f"configuration file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"configuration file {path} holds {type(values).__name__}, expected lines `key: value`.")
    return values


def read_word(text: str) -> Any:
    """What stands behind `--key=`: a Python literal, None, True, False, YAML in brackets, or else a word."""
    stripped = text.strip()
    try:
        return plain(ast.literal_eval(stripped))
    except _NOT_READ:
        pass
    if stripped.lower() in _WORDS:
        return _WORDS[stripped.lower()]
    if stripped[0] in "[{":
        try:
            return plain(yaml.load(stripped, _Loader))
        except _NOT_READ:
            pass
    return text


def plain(value: Any) -> Any:
    """A value made of numbers, words, lists and dictionaries alone.

    Raises:
        ValueError: something else is in it.
    """
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        if not all(isinstance(key, (str, int)) for key in value):
            raise ValueError(f"keys of {value!r} are not words")
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value!r} is neither number, word, list nor dictionary")
