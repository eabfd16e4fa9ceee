"""Break things on purpose, and count what is survived. `make faults`

    python -m studies.faults                            # everything, 20 minutes
    python -m studies.faults kill disk --minutes 30     # two groups, as many tries as fit

Each module is a group of kinds of faults. A fault is inflicted on a fresh copy of a working tree in which the whole DAG has run once
on a few dozen photos, undisturbed; the copy is compared with that one first. It is survived where the same command, typed again, ends
with the hashes of that run and leaves nothing behind, or where what is wrong is refused with a line that says so; `make mend` comes
between where that line, or DVC's, asks for it. Writes studies/results/faults.json. Where a fault was not survived, or a kind of them
was not tried, that stands in the file, and the command ends with an error.
"""
