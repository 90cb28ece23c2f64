"""Everything that keeps RecBole 1.2.1 alive on today's stack, each with its reason.

`recbole.quick_start` is never imported: it alone needs ray, whose last supported release (2.6.3) imports
`pkg_resources` (gone from setuptools 81) and `np.bool8` (gone from NumPy 2). `recbole_odrec.quick_start` replaces it.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version

import numpy as np
import torch

# Names that `recbole.config.Config.compatibility_settings` reads and NumPy 2 no longer has.
_NUMPY_ALIASES = {
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
    "string_": np.bytes_,
    # Names that `recbole.data` reads before any Config has set them.
    "float": np.float64,
    "bool": np.bool_,
}


def apply() -> None:
    """Applies every shim; safe to call more than once."""
    _add_numpy_aliases()
    _check_pandas()
    _quiet_known_warnings()
    _keep_anomaly_detection_off()


def _add_numpy_aliases() -> None:
    for name, value in _NUMPY_ALIASES.items():
        if name not in vars(np):  # hasattr would trip NumPy's own "removed" warnings
            setattr(np, name, value)


def _check_pandas() -> None:
    # pandas 3 breaks `token_seq` fields (`Series.agg(len)`) and turns RecBole's chained `fillna(inplace=True)` into a
    # silent no-op, which corrupts padding rows: wrong numbers, no error.
    installed = version("pandas")
    if int(installed.split(".")[0]) >= 3:
        sys.exit(f"recbole_odrec: pandas {installed} corrupts RecBole's data; run: pip install 'pandas<3'")


def _quiet_known_warnings() -> None:
    """RecBole's own deprecations, which a user of ours can do nothing about."""
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"recbole\.")
    # pandas and torch name the caller's line, which for these is RecBole's.
    warnings.filterwarnings("ignore", message=".*torch.cuda.amp.GradScaler.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*A value is trying to be set on a copy.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*pkg_resources is deprecated.*", category=UserWarning)


def _keep_anomaly_detection_off() -> None:
    """RecBole's SINE module turns autograd's anomaly detection on for the whole process when RecBole is imported.

    It looks for NaN after every backward operation: training without it is about twice as fast.
    """
    was_on = torch.is_anomaly_enabled()
    import recbole.model.sequential_recommender  # noqa: F401  # imports SINE

    torch.autograd.set_detect_anomaly(was_on)
