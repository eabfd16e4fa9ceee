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
    """List what pip-audit reports of a file of pinned packages, a line each, and what it could not do."""
    words = ["pip-audit", "--strict", "--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off", "--requirement"]
    done = subprocess.run([*words, str(file)], capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return [], (done.stderr.strip().splitlines() or ["nothing was answered"])[-1]
    lines = [
        f"{package['name']} {package['version']}: {weakness['id']}, mended in {', '.join(weakness['fix_versions']) or 'no version yet'}"
        for package in packages
        for weakness in package.get("vulns", [])
    ]
    return lines, next((package["skip_reason"] for package in packages if "skip_reason" in package), "")


def main() -> None:
    failed = bool(subprocess.run(["zizmor", "--offline", "--no-progress", ".github"]).returncode)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as known:
        print(KNOWN, file=known, flush=True)
        lines, problem = weaknesses(Path(known.name))
    if not lines:
        why = f"pip-audit does not report {KNOWN}, which is known to be weak ({problem or 'no reason given'})"
        print(f"packages: not audited here: {why}")
        sys.exit(failed)
    for file in sorted(REQUIREMENTS.glob("*.txt")):
        lines, problem = weaknesses(file)
        failed |= bool(lines or problem)
        print(f"{file}: {problem or f'{len(lines)} known weaknesses'}", *lines, sep="\n  ")
    sys.exit(failed)


if __name__ == "__main__":
    command.start(main)
