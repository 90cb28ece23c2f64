"""Pure layers: no RecBole in here."""

from recbole_odrec.nn.encoder import GRUEncoder, SelfAttentionEncoder
from recbole_odrec.nn.readout import ItemAttentionReadout, LastStateReadout, SoftAttentionReadout
from recbole_odrec.nn.repeat import RepeatScores
from recbole_odrec.nn.table import FrozenTable, ItemTable
from recbole_odrec.nn.tables import TABLES, DenseEmbedding, ProductCodesEmbedding, SemiTensorTrainEmbedding
from recbole_odrec.nn.tables.planner import TensorTrainPlan, plan_tensor_train

__all__ = [
    "TABLES",
    "DenseEmbedding",
    "FrozenTable",
    "GRUEncoder",
    "ItemAttentionReadout",
    "ItemTable",
    "LastStateReadout",
    "ProductCodesEmbedding",
    "RepeatScores",
    "SelfAttentionEncoder",
    "SemiTensorTrainEmbedding",
    "SoftAttentionReadout",
    "TensorTrainPlan",
    "plan_tensor_train",
]
