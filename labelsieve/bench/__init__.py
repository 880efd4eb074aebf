"""The bench: methods x data sets x noise x seeds x towers, one table.

`plan.py` reads a configuration and `steps.py` makes its steps; `schedule.py` runs each step in a
process of its own, which `worker.py` is; `results.py` makes tables of what they left, `render.py`
and `plots.py` show them; `command.py` is the verb. Configurations that are ready lie in
`assets/bench/`.
"""
