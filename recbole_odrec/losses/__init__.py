"""Training losses: pure functions and small modules, no RecBole in here."""

from recbole_odrec.losses.at_once import at_once
from recbole_odrec.losses.catalogue import AddedScores, CatalogueCrossEntropy, CatalogueLoss, catalogue_loss
from recbole_odrec.losses.contrastive import contrastive_loss
from recbole_odrec.losses.mixture import ItemShares, mix_
from recbole_odrec.losses.predictive import predictive_loss
from recbole_odrec.losses.recombination import Recombination, RecombinationHead, RecombinedParts, RecombinedViews

__all__ = [
    "AddedScores",
    "CatalogueCrossEntropy",
    "CatalogueLoss",
    "ItemShares",
    "Recombination",
    "RecombinationHead",
    "RecombinedParts",
    "RecombinedViews",
    "at_once",
    "catalogue_loss",
    "contrastive_loss",
    "mix_",
    "predictive_loss",
]
