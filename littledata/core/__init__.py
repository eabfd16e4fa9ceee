"""What every stage uses: its params and its lock entry, errors for people, files, tables, progress.

Stages import most of it, so dvc.yaml names the folder. It is small and changes rarely: an edit here reruns everything.
"""
