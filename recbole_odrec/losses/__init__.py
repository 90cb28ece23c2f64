"""Training losses: pure functions and small modules, no RecBole in here."""

from recbole_odrec.losses.added import AddedScores
from recbole_odrec.losses.at_once import at_once
from recbole_odrec.losses.catalogue import CatalogueCrossEntropy, CatalogueLoss, catalogue_loss
from recbole_odrec.losses.contrastive import contrastive_loss
from recbole_odrec.losses.mixture import ItemShares, mix_, shares_within, total_of_mixture
from recbole_odrec.losses.predictive import predictive_loss
from recbole_odrec.losses.recombination import Recombination, RecombinationHead, RecombinedParts, RecombinedViews
from recbole_odrec.losses.sampled import sampled_loss
from recbole_odrec.losses.score_memory import ScoreMemory
from recbole_odrec.losses.table_loss import table_loss
from recbole_odrec.losses.tiles import TeacherScores, tiled_catalogue_loss

__all__ = [
    "AddedScores",
    "CatalogueCrossEntropy",
    "CatalogueLoss",
    "ItemShares",
    "Recombination",
    "RecombinationHead",
    "RecombinedParts",
    "RecombinedViews",
    "ScoreMemory",
    "TeacherScores",
    "at_once",
    "catalogue_loss",
    "contrastive_loss",
    "mix_",
    "predictive_loss",
    "sampled_loss",
    "shares_within",
    "table_loss",
    "tiled_catalogue_loss",
    "total_of_mixture",
]
