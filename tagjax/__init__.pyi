# The public names and where they are; tagjax/__init__.py loads each on first use.
from . import methods as methods
from . import metrics as metrics
from . import models as models
from . import transforms as transforms
from .benchmarks import Stream as Stream
from .benchmarks import load_benchmark as load_benchmark
from .config.plugins import register as register
from .core.errors import ConfigError as ConfigError
from .core.errors import TagjaxError as TagjaxError
from .core.method import Boundary as Boundary
from .core.method import Method as Method
from .core.method import Phase as Phase
from .core.method import Query as Query
from .core.method import Step as Step
from .core.method import as_transform as as_transform
from .core.method import chain as chain
from .core.method import lift as lift
from .core.types import Batch as Batch
from .core.types import StreamSpec as StreamSpec
from .engine.learner import make_learner as make_learner
from .engine.model import Model as Model
from .engine.model import task_stacked as task_stacked
from .report.run import Grid as Grid
from .report.run import Run as Run
from .report.runs import Runs as Runs
from .report.runs import load_runs as load_runs
from .training.fit import fit as fit
from .training.options import RunOptions as RunOptions
from .training.search import search as search
from .training.sweep import sweep as sweep
from .transforms import only_current_task as only_current_task
from .transforms import scale_by_tag as scale_by_tag
from .transforms import stable_sgd as stable_sgd
from .transforms import tag as tag
from .transforms import task_relatedness as task_relatedness

__version__: str
