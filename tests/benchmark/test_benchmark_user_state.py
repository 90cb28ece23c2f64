"""The benchmark of users' states: rows that agree with what `ndcg_of` gives, and nothing for users without a past."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recbole_odrec.benchmark.user_state import markdown
from recbole_odrec.bundle.source import load_source
from recbole_odrec.bundle.user_weights import UserWeights, ndcg_of, user_cases
from recbole_odrec.cli import main


def test_rows_are_means_over_groups_of_users(odrec_run, capsys) -> None:
    path = odrec_run["phases"]["student"]["checkpoint"]
    assert (
        main(
            [
                "benchmark",
                "user-state",
                f"--checkpoint={path}",
                "--sessions=30m",
                "--made_by=train it",
                "--output=r/state.json",
            ]
        )
        == 0
    )
    result = json.loads(Path("r/state.json").read_text())
    trained, measured = result["commands"]
    assert (trained, measured.split("--")[0]) == ("train it", "recbole-odrec benchmark user-state ")
    assert Path("r/state.md").read_text() == f"{markdown(result['rows'])}\n```bash\n{trained}\n{measured}\n```\n"
    assert capsys.readouterr().out == f"{markdown(result['rows'])}r/state.json\n"
    regular, any_past, new = result["rows"]
    source = load_source(Path(path), in_seconds=True)
    cases = user_cases(source, 2, "30m")
    past = [case for case in cases if case.past]
    assert 0 < regular["cases"] <= any_past["cases"] == len(past) < len(cases) == any_past["cases"] + new["cases"]
    weights = UserWeights(*(any_past[name] for name in UserWeights._fields))
    off, on = 100 * ndcg_of(source, past, [UserWeights(), weights]).mean(1)
    assert (any_past["off"], any_past["on"], any_past["gain"]) == pytest.approx((off, on, on - off))
    assert (new["on"], new["gain"]) == (new["off"], 0.0)


def test_bad_input_is_one_line(capsys) -> None:
    assert main(["benchmark", "user-state", "--checkpoint=a", "--sessions=6h", "--sessions=3"]) == 2
    assert capsys.readouterr().err == "recbole_odrec: 1 --checkpoint and 2 --sessions, expected as many.\n"
