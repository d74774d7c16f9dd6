"""Continual learning in JAX: TAG as an Optax transformation, and the baselines composed around it.

`tag` is for Optax pipelines of one's own, `chain` composes it with the methods of `tagjax.methods`;
`tagjax.training.experiment.run` trains a whole stream of tasks, `load_runs` reads what it left.
"""

from tagjax import methods as methods
from tagjax import metrics as metrics
from tagjax.benchmarks import load_benchmark as load_benchmark
from tagjax.core.method import chain as chain
from tagjax.report.run import Run as Run
from tagjax.report.runs import Runs as Runs
from tagjax.report.runs import load_runs as load_runs
from tagjax.transforms import scale_by_tag as scale_by_tag
from tagjax.transforms import stable_sgd as stable_sgd
from tagjax.transforms import tag as tag
from tagjax.transforms import task_relatedness as task_relatedness

__version__ = "0.1.0"
