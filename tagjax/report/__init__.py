"""What a run leaves behind: results, tables, pictures, a line of progress, comparisons.

`results` turns accuracy matrices into the figures of results.json and writes it; `plots` and
`tables` show them; `progress` is the line on the terminal; `compare` (also
`python -m tagjax.report.compare`) sets several runs side by side.
"""
