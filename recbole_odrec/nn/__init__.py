"""Pure layers: no RecBole in here."""

from recbole_odrec.nn.codes import ProductCodesEmbedding
from recbole_odrec.nn.dense import DenseEmbedding, FrozenTable
from recbole_odrec.nn.encoder import GRUEncoder, SelfAttentionEncoder
from recbole_odrec.nn.planner import TensorTrainPlan, plan_tensor_train
from recbole_odrec.nn.readout import ItemAttentionReadout, LastStateReadout, SoftAttentionReadout
from recbole_odrec.nn.repeat import RepeatScores
from recbole_odrec.nn.tensor_train import SemiTensorTrainEmbedding

__all__ = [
    "DenseEmbedding",
    "FrozenTable",
    "GRUEncoder",
    "ItemAttentionReadout",
    "LastStateReadout",
    "ProductCodesEmbedding",
    "RepeatScores",
    "SelfAttentionEncoder",
    "SemiTensorTrainEmbedding",
    "SoftAttentionReadout",
    "TensorTrainPlan",
    "plan_tensor_train",
]
