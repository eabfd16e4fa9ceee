"""What every stage uses: its params and its lock entry, errors for people, files, tables, progress.

Every stage imports all of it, so dvc.yaml names the folder. It is small and changes rarely: an edit here reruns everything.
"""

from littledata.core import ending, environment, errors, files, lockfile, measured, params, progress, stage, tables  # noqa: F401
