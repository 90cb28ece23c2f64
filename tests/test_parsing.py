"""Settings of parts, out of a configuration."""

from __future__ import annotations

from dataclasses import make_dataclass

import pytest

from recbole_odrec.errors import UserError
from recbole_odrec.parsing import parse


@pytest.mark.parametrize("annotations", [(float, list[int] | None), ("float", "list[int] | None")])
def test_settings_of_a_module_that_does_not_postpone_annotations_parse_alike(annotations: tuple) -> None:
    weight, widths = annotations
    settings = make_dataclass("Settings", [("weight", weight, 0.1), ("widths", widths, None)], frozen=True)
    assert parse(settings, {}) == settings(0.1, None)
    assert parse(settings, {"weight": 1, "widths": [2]}) == settings(1, [2])
    with pytest.raises(UserError, match=r"^weight='much', expected a number\.$"):
        parse(settings, {"weight": "much"})
    with pytest.raises(UserError, match=r"^widths=2, expected a list or None\.$"):
        parse(settings, {"widths": 2})
