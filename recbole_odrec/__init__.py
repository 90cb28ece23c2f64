"""OD-Rec for RecBole: next-item recommendation small enough for the user's own device.

Importing this package makes RecBole find our models, trainers and properties by name.
"""

from recbole_odrec import compat

compat.apply()  # before the first import of RecBole

from recbole_odrec.registration import register  # noqa: E402

register()

from recbole_odrec.model import GRU4RecTeacher, ODRec, SASRecTeacher  # noqa: E402
from recbole_odrec.nn import SemiTensorTrainEmbedding  # noqa: E402
from recbole_odrec.quick_start import run  # noqa: E402
from recbole_odrec.trainer import DistillationTrainer  # noqa: E402

__all__ = ["DistillationTrainer", "GRU4RecTeacher", "ODRec", "SASRecTeacher", "SemiTensorTrainEmbedding", "run"]
__version__ = "0.1.0"
