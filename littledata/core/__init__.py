"""What every stage uses: its params, its process, errors for people, files, tables, progress. It imports no other room."""
