"""RecBole recommenders: teachers, student, and the adapter that makes RecBole's own models teachers."""

from recbole_odrec.model.odrec import ODRec
from recbole_odrec.model.teachers import GRU4RecTeacher, SASRecTeacher

__all__ = ["GRU4RecTeacher", "ODRec", "SASRecTeacher"]
