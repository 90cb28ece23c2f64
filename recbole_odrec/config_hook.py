"""RecBole's `Config` made from resolved values: put in place when RecBole is imported, acts when a Config is made."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole.config import Config


def hook_properties(kind: Any) -> None:
    """A `Config` for one of our models holds what `config.resolve` makes of its arguments, and so does one of ours.

    RecBole reads property files from its own folder only, accepts any key, and evaluates every string it is given, of
    `sys.argv` too. A plain script's `Config` for one of RecBole's models is left as it is, but for two defaults with
    which no sequential model can run (`layers.mend_sequential_defaults`). Once the device is known, what depends on it
    is settled: the configuration says what runs. Safe to call more than once.

    Args:
        kind: RecBole's `Config`.
    """
    init, convert, load = kind.__init__, kind._convert_config_dict, kind._load_internal_config_dict
    if hasattr(init, "__wrapped__"):
        return

    @functools.wraps(init)
    def init_resolved(
        self: Config,
        model: Any = None,
        dataset: str | None = None,
        config_file_list: Sequence[str] | None = None,
        config_dict: Any = None,
    ) -> None:
        # Late: this runs long after RecBole and our configuration have been imported, this module while they are.
        from recbole_odrec.config import PlainValues, no_arguments, resolve_script, settle_score_dtype
        from recbole_odrec.config.layers import Resolved
        from recbole_odrec.registration import register

        is_resolved = isinstance(config_dict, Resolved)
        found = config_dict if is_resolved else resolve_script(model, dataset, config_file_list, config_dict)
        if found is None:
            init(self, model, dataset, config_file_list, config_dict)
            return
        register()  # given as a class, `get_model` is never asked
        with no_arguments():
            init(self, model or found.model, found.dataset, None, PlainValues(found.values))
        self.internal_config_dict.update(found.defaults)
        self.variable_config_dict = self.external_config_dict = dict(found.given)
        if "data_path" in found.given:  # RecBole reads the ml-100k that comes with it, whatever folder is given
            self["data_path"] = str(Path(found.given["data_path"]) / found.dataset)
        settle_score_dtype(self)

    @functools.wraps(convert)
    def convert_unless_plain(self: Config, config_dict: dict) -> dict:
        from recbole_odrec.config import PlainValues

        return config_dict if isinstance(config_dict, PlainValues) else convert(self, config_dict)

    @functools.wraps(load)
    def load_mended(self: Config, model: str, model_class: type, dataset: str) -> None:
        load(self, model, model_class, dataset)
        from recbole.utils import ModelType

        from recbole_odrec.config.layers import mend_sequential_defaults

        if model_class.type == ModelType.SEQUENTIAL and "external_config_dict" in vars(self):
            mend_sequential_defaults(self.internal_config_dict, self.external_config_dict)

    kind.__init__, kind._convert_config_dict, kind._load_internal_config_dict = (
        init_resolved,
        convert_unless_plain,
        load_mended,
    )
