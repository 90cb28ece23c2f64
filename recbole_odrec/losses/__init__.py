"""Training losses: pure functions and small modules, no RecBole in here."""

from recbole_odrec.losses.contrastive import contrastive_loss
from recbole_odrec.losses.predictive import predictive_loss
from recbole_odrec.losses.recombination import Recombination, RecombinedViews
from recbole_odrec.losses.soft_targets import soft_target_loss

__all__ = ["Recombination", "RecombinedViews", "contrastive_loss", "predictive_loss", "soft_target_loss"]
