"""Continual learning in JAX: TAG as an Optax transformation, and the baselines composed around it.

What is public: the names below, and what the packages `tagjax.methods`, `tagjax.models`,
`tagjax.metrics` and `tagjax.transforms` export. Everything else may change.

- An optimizer for Optax pipelines of your own: `tag`, `scale_by_tag`, `task_relatedness`,
  `with_task`, `stable_sgd`, `only_current_task`.
- A run: `fit`, `sweep`, `search`, `tune_then_judge`, with `load_benchmark` or `Stream.from_arrays`,
  any model, and a method made by `chain`; `RunOptions` and `TuningOptions` list the options. `Run`,
  `Grid` and the `Runs` of `load_runs` hold the results. A `TagjaxError` is one line: `ConfigError`
  names a value that cannot work, `IncompleteRun` tells that other processes have not ended yet.
- To extend it: `Method`, `Phase`, `Step`, `Boundary`, `Query`, `lift`, `register`, `Model`,
  `task_stacked`, `Batch`, `StreamSpec`.
- A loop of your own: `make_learner`, `as_transform`.
"""

import lazy_loader

# The names stand in __init__.pyi, for type checkers too: `import tagjax` alone loads none of them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
