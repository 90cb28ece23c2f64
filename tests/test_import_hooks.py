"""`import recbole_odrec` costs nothing by itself and still makes plain RecBole code find our names, in any order."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FIND = """
config = Config(model="ODRec", dataset="ml-100k")
assert config["bits"] == 4
assert get_model("ODRec").__module__ == "recbole_odrec.model.odrec"
assert get_trainer(config["MODEL_TYPE"], "ODRec").__name__ == "DistillationTrainer"
assert Config(model="SASRec", dataset="ml-100k")["train_neg_sample_args"]["distribution"] == "none"
import numpy, torch
assert not torch.is_anomaly_enabled()
"""
RECBOLE = "from recbole.config import Config\nfrom recbole.utils import get_model, get_trainer\n"

SCRIPTS = {
    "before RecBole": f"import recbole_odrec\n{RECBOLE}{FIND}"
    "assert [getattr(recbole_odrec, n).__name__ for n in recbole_odrec.__all__] == recbole_odrec.__all__",
    "after RecBole": f"{RECBOLE}import recbole_odrec\n{FIND}",
    "a module of ours first": f"from recbole_odrec.config import make_config\n{RECBOLE}{FIND}",
    "a class in place of a name": "from recbole_odrec.bundle import Recommender\nfrom recbole_odrec import ODRec\n"
    f"{RECBOLE}Config(model=ODRec, dataset='ml-100k')\n{FIND}",
    "nothing heavy": "import sys, recbole_odrec, recbole_odrec.bundle, recbole_odrec.cli\n"
    "assert not {'torch', 'recbole', 'pandas', 'onnx'} & set(sys.modules)\n"
    "assert set(recbole_odrec.__all__) <= set(dir(recbole_odrec))",
    "no such name": "import recbole_odrec\ntry:\n    recbole_odrec.nothing\nexcept AttributeError as error:\n"
    "    assert str(error) == \"module 'recbole_odrec' has no attribute 'nothing'\"\nelse:\n    raise SystemExit(1)",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_in_a_process_of_its_own(script: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-1500:]
