"""The student: the teacher's shape over a compressed item table (paper, section 3.2)."""

from __future__ import annotations

from recbole_odrec.model.session_recommender import SessionRecommender


class ODRec(SessionRecommender):
    """Any encoder, read-out and item table by name; a compressed table scores straight from what it stores.

    Trained by `trainer.DistillationTrainer`; on its own, `calculate_loss` is the cross-entropy part alone.
    """
