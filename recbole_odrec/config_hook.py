"""RecBole's `Config` reads our property files: put in place when RecBole is imported, acts when a Config is made."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recbole.config import Config


def hook_properties(kind: type[Config]) -> None:
    """Our property files join RecBole's when a Config is made for one of our models, and its keys are checked.

    RecBole's Config reads property files from RecBole's own folder only. Once the device is known, what depends on it
    is settled: the configuration says what runs. Safe to call more than once.

    Args:
        kind: RecBole's `Config`.
    """
    original, original_device = kind._load_internal_config_dict, kind._init_device
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def load(self: Config, model: str, model_class: type, dataset: str) -> None:
        original(self, model, model_class, dataset)
        # Late: this runs long after RecBole and our configuration have been imported, this module while they are.
        from recbole.utils import ModelType

        from recbole_odrec.config import add_our_properties, mend_sequential_defaults
        from recbole_odrec.registration import register
        from recbole_odrec.registry import OUR_MODELS

        if model_class.type == ModelType.SEQUENTIAL:
            mend_sequential_defaults(self, dataset)
        if model in OUR_MODELS:
            register()  # given as a class, `get_model` was never asked
            add_our_properties(self, model, dataset)

    @functools.wraps(original_device)
    def init_device(self: Config) -> None:
        original_device(self)
        from recbole_odrec.config import settle_score_dtype
        from recbole_odrec.registry import OUR_MODELS

        if self.model in OUR_MODELS:
            settle_score_dtype(self)

    kind._load_internal_config_dict, kind._init_device = load, init_device
