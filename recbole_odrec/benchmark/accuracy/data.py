"""The data of a run: how many there are of what; of each test case, whose it is and whether its target is a repeat.

Either session files, or users whose last two items are left out, one for validation and one for the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from recbole.config import Config

from recbole_odrec.benchmark.accuracy.ranks import repeated_targets
from recbole_odrec.data.session_dataset import HISTORY_END, SESSION_START, SessionDataset
from recbole_odrec.data.session_file import session_file_paths
from recbole_odrec.errors import UserError


@dataclass(frozen=True)
class RunData:
    """What a run saw.

    Attributes:
        sizes: `items`, `sessions` or `users`, and `cases`; the last two of training, validation and test.
        cases_of: test cases of each session or user, in the order of the cases: int [U].
        repeats: which test cases have a target that stands in their history: bool [C].
    """

    sizes: dict[str, Any]
    cases_of: np.ndarray
    repeats: np.ndarray


def read_data(config: Config) -> RunData:
    """The data set as a run of this configuration sees it.

    Raises:
        UserError: neither whole sessions nor users with their last items left out.
    """
    if session_file_paths(config):
        return _of_sessions(SessionDataset(config))
    if config["benchmark_filename"] or "LS" not in config["eval_args"]["split"]:
        raise UserError(
            f"{config['dataset']}: benchmark accuracy needs session files of `recbole-odrec convert`, one session a "
            "line, or users with their last items left out (eval_args: {split: {LS: valid_and_test}})."
        )
    return _of_users(SessionDataset(config))


def _of_sessions(data: SessionDataset) -> RunData:
    test = data.parts[-1]
    sizes = {
        "items": data.item_num - 1,
        "sessions": [part.n_sessions for part in data.parts],
        "cases": [part.n_cases for part in data.parts],
    }
    sessions = np.split(data.tokens, test.starts)[1:-1]
    repeats = repeated_targets(sessions, test.n_given, data.max_item_list_len)
    return RunData(sizes, np.diff(test.starts) - test.n_given, repeats)


def _of_users(data: SessionDataset) -> RunData:
    parts = data.build()
    users = [part.inter_feat[data.uid_field].numpy() for part in parts]
    sizes = {
        "items": data.item_num - 1,
        "users": [len(np.unique(of_part)) for of_part in users],
        "cases": [len(of_part) for of_part in users],
    }
    rows, tokens = parts[-1].inter_feat, parts[-1].tokens
    starts, ends = rows[SESSION_START].numpy(), rows[HISTORY_END].numpy()
    histories = [tokens[start : end + 1] for start, end in zip(starts, ends, strict=True)]
    repeats = repeated_targets(histories, ends - starts, data.max_item_list_len)
    return RunData(sizes, np.ones(len(ends), dtype=int), repeats)  # one case a user
