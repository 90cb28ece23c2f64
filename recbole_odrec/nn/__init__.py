"""Pure layers: no RecBole in here."""

from recbole_odrec.nn.encoder import Encoder
from recbole_odrec.nn.encoders import ENCODERS, GRUEncoder, SelfAttentionEncoder
from recbole_odrec.nn.followers import FollowerScores
from recbole_odrec.nn.readout import Readout
from recbole_odrec.nn.readouts import READOUTS, ItemAttentionReadout, LastStateReadout, SoftAttentionReadout
from recbole_odrec.nn.repeat import RepeatScores
from recbole_odrec.nn.table import FrozenTable, ItemTable
from recbole_odrec.nn.tables import TABLES, DenseEmbedding, ProductCodesEmbedding, SemiTensorTrainEmbedding
from recbole_odrec.nn.tables.planner import TensorTrainPlan, plan_tensor_train

__all__ = [
    "ENCODERS",
    "READOUTS",
    "TABLES",
    "DenseEmbedding",
    "Encoder",
    "FollowerScores",
    "FrozenTable",
    "GRUEncoder",
    "ItemAttentionReadout",
    "ItemTable",
    "LastStateReadout",
    "ProductCodesEmbedding",
    "Readout",
    "RepeatScores",
    "SelfAttentionEncoder",
    "SemiTensorTrainEmbedding",
    "SoftAttentionReadout",
    "TensorTrainPlan",
    "plan_tensor_train",
]
