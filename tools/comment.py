"""Post report/report.md on a pull request, as its one comment, found again by its first line.

    python -m tools.comment 12 https://...      # pull request 12, its pictures at that URL

`gh` has to know the repository and a token: in GitHub Actions by GH_REPO and GH_TOKEN.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from stages.lib.errors import UserError
from tools import command

REPORT = Path("report/report.md")
MARKER = "<!-- make report -->"
ISSUES = "repos/{owner}/{repo}/issues"  # gh fills these in; to its API a pull request is an issue


def api(*arguments: str, body: str = "") -> str:
    """What GitHub's API answers."""
    done = subprocess.run(["gh", "api", *arguments], input=body, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"gh api {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("number", type=int, help="of the pull request")
    parser.add_argument("pictures", help="URL under which the pictures are")
    options = parser.parse_args()
    report = re.sub(r"!\[(.*?)\]\(.*?\)", rf"[\1]({options.pictures})", REPORT.read_text())
    comments = f"{ISSUES}/{options.number}/comments"
    own = api(comments, "--paginate", "--jq", f'.[] | select(.body | startswith("{MARKER}")) | .id').split()
    target = ["--method", "PATCH", f"{ISSUES}/comments/{own[0]}"] if own else [comments]
    api(*target, "--input", "-", body=json.dumps({"body": f"{MARKER}\n{report}"}))


if __name__ == "__main__":
    command.start(main)
