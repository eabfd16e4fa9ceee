"""Break things on purpose, and count what is survived. `make faults`

    python -m studies.faults                            # everything, 20 minutes
    python -m studies.faults kill disk --minutes 30     # two groups, as many tries as fit

Each module is a group of faults, which it inflicts on a `ground.Ground`: a copy of the working tree in which the whole DAG has run
once on a few dozen photos, undisturbed. A fault is survived where the same command, typed again, ends with the hashes of that
run, or where what is wrong is refused with a line that says so; `make mend` comes between where that line, or DVC's, asks for it.
Writes studies/results/faults.json.
"""
