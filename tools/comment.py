"""Post report/report.md on a pull request, as its one comment, found again by its first line.

    python -m tools.comment 12 https://...      # pull request 12, its pictures at that URL

For GitHub Actions, which sets GITHUB_API_URL and GITHUB_REPOSITORY; GITHUB_TOKEN is the workflow's to give.
"""

import argparse
import os
import re
from pathlib import Path

import requests

from littledata.core import command
from littledata.core.errors import UserError

REPORT = Path("report/report.md")
MARKER = "<!-- make report -->"


def call(method: str, url: str, body: str | None = None) -> requests.Response:
    """What GitHub's API answers; UserError where it refuses or is out of reach."""
    headers = {"Authorization": f"Bearer {os.environ.get('GITHUB_TOKEN')}", "Accept": "application/vnd.github+json"}
    try:
        answer = requests.request(method, url, headers=headers, json=body and {"body": body}, timeout=60)
    except requests.RequestException as error:
        raise UserError(f"{url} can't be reached: {error}") from None
    if not answer.ok:
        raise UserError(f"{method} {url}: {answer.status_code} {answer.reason}. {answer.text[:200]}")
    return answer


def own(comments: str) -> str | None:
    """The URL of the comment that an earlier call posted among those at a URL, page by page; None if there is none."""
    page: str | None = f"{comments}?per_page=100"
    while page:
        answer = call("GET", page)
        for comment in answer.json():
            if comment["body"].startswith(MARKER):
                return comment["url"]
        page = answer.links.get("next", {}).get("url")
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("number", type=int, help="of the pull request")
    parser.add_argument("pictures", help="URL under which the pictures are")
    options = parser.parse_args()
    if missing := [name for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN") if not os.environ.get(name)]:
        raise UserError(f"{', '.join(missing)} not set: this is for GitHub Actions.")
    report = re.sub(r"!\[(.*?)\]\(.*?\)", rf"[\1]({options.pictures})", REPORT.read_text())
    # To its API a pull request is an issue.
    issue = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/issues/{options.number}"
    earlier = own(f"{issue}/comments")
    call("PATCH" if earlier else "POST", earlier or f"{issue}/comments", f"{MARKER}\n{report}")


if __name__ == "__main__":
    command.start(main)
