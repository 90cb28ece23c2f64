"""Uncompressed models of the paper's shape: teachers, and recommenders in their own right."""

from __future__ import annotations

from recbole_odrec.model.session_recommender import SessionRecommender
from recbole_odrec.parts import FIXED_PARTS


class SASRecTeacher(SessionRecommender):
    """Self-attention encoder, soft-attention read-out, full item table (paper, section 3.1)."""

    fixed_parts = FIXED_PARTS["SASRecTeacher"]


class GRU4RecTeacher(SASRecTeacher):
    """GRU encoder whose last state reads out the session, full item table."""

    fixed_parts = FIXED_PARTS["GRU4RecTeacher"]
