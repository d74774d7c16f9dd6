"""What a run leaves behind: results, tables, plots, a line of progress, comparisons.

`results` turns accuracy matrices into the metrics of results.json. `run.Run` is a finished run as
arrays, pandas frames and plots, `grid.Grid` a finished grid, `runs.Runs` several side by side;
`runs.load_runs` finds them in folders. `tables`, `plots`, `class_plots`, `curve_plots` and
`growth_plots` show results, `metrics_log` and `log_plots` the log, `comparison` and
`comparison_plots` several runs; `progress` is the line on the terminal. `compare`
(`python -m tagjax.report.compare`) is the command line of the comparison.
"""

import lazy_loader

# With Matplotlib they take half a second to import: loaded when a plot is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach(
  __name__,
  [
    "class_plots",
    "comparison_plots",
    "curve_plots",
    "forgiving",
    "growth_plots",
    "log_plots",
    "plots",
    "tables",
  ],
)
