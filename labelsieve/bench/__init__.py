"""The bench: methods x data sets x noise x seeds x towers, one table.

`plan.py` reads a configuration and `steps.py` makes its steps; `schedule.py` runs each step in a process of its own, which
`work.py` is; `collect.py` makes tables of what they left, `markup.py` and `plots.py` show them; `command.py` is the verb.
Configurations that are ready lie in `assets/bench/`.
"""
