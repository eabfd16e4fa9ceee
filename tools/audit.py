"""Look for known weaknesses: of the pinned packages by pip-audit, of the workflows by zizmor. `make audit`

    python -m tools.audit

pip-audit answers "no known vulnerabilities" where it can't reach its source of advisories. So it is asked first for a version
that is known to have one; unless it reports that, this says "not audited here".
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from littledata.core import command

KNOWN = "jinja2==2.4.1"  # CVE-2014-1402, of 2014
REQUIREMENTS = Path("requirements")


def weaknesses(file: Path) -> tuple[list[str], str]:
    """What pip-audit reports of a file of pinned packages, a line each, and what it could not do."""
    words = [
        "pip-audit",
        "--strict",
        "--requirement",
        str(file),
        "--no-deps",
        "--disable-pip",
        "--format",
        "json",
        "--progress-spinner",
        "off",
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return [], (done.stderr.strip().splitlines() or ["nothing was answered"])[-1]
    found = [
        f"{package['name']} {package['version']}: {weakness['id']}, mended in {', '.join(weakness['fix_versions']) or 'no version yet'}"
        for package in packages
        for weakness in package.get("vulns", [])
    ]
    return found, next((package["skip_reason"] for package in packages if "skip_reason" in package), "")


def main() -> None:
    failed = bool(subprocess.run(["zizmor", "--offline", "--no-progress", ".github"]).returncode)
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder, "known.txt")
        known.write_text(f"{KNOWN}\n")
        found, problem = weaknesses(known)
    if not found:
        print(
            f"packages: not audited here: pip-audit does not report {KNOWN}, which is known to be weak ({problem or 'no reason given'})"
        )
        sys.exit(failed)
    for file in sorted(REQUIREMENTS.glob("*.txt")):
        found, problem = weaknesses(file)
        failed |= bool(found or problem)
        print(f"{file}: {problem or f'{len(found)} known weaknesses'}", *found, sep="\n  ")
    sys.exit(failed)


if __name__ == "__main__":
    command.start(main)
