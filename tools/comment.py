"""Post report/report.md on a pull request by `gh`, as its one comment, which is known by its first line.

    python -m tools.comment 12 https://...      # pull request 12, its pictures at that URL

For GitHub Actions, which bring `gh`; GITHUB_TOKEN is the workflow's to give.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

from littledata.core import command
from littledata.core.errors import UserError

REPORT = Path("report/report.md")
MARKER = "<!-- make report -->"


def api(*words: str, body: str | None = None) -> str:
    """Ask GitHub's API through `gh`, which reads the repository's name from Git. Raises UserError where that fails."""
    try:
        done = subprocess.run(["gh", "api", *words], input=body, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("`gh`, GitHub's client, is missing: this is for GitHub Actions, which bring it.") from None
    if done.returncode:
        raise UserError(f"gh api {words[-1]}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("number", type=int, help="of the pull request")
    parser.add_argument("pictures", help="URL under which the pictures are")
    options = parser.parse_args()
    report = re.sub(r"!\[(.*?)\]\(.*?\)", rf"[\1]({options.pictures})", REPORT.read_text())
    comments = f"repos/{{owner}}/{{repo}}/issues/{options.number}/comments"  # to the API a pull request is an issue
    pages = json.loads(api("--paginate", "--slurp", comments))
    earlier = [comment["url"] for page in pages for comment in page if comment["body"].startswith(MARKER)]
    method, url = ("PATCH", earlier[0]) if earlier else ("POST", comments)
    api("--method", method, "--field", "body=@-", url, body=f"{MARKER}\n{report}")


if __name__ == "__main__":
    command.start(main)
