"""What goes to a device: a folder that recommends with ONNX Runtime and NumPy alone.

This package's front imports neither PyTorch nor RecBole; `bundle.export`, which makes the folder, imports both.
"""

from recbole_odrec.bundle.answers import Recommendation, Recommendations
from recbole_odrec.bundle.manifest import BundleError
from recbole_odrec.bundle.recommender import Recommender
from recbole_odrec.bundle.user_state import UserState

__all__ = ["BundleError", "Recommendation", "Recommendations", "Recommender", "UserState"]
