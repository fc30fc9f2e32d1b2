"""Do what README's first run says, where only the package is installed: ``python first_run.py README.md``."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

DISTRIBUTION = "lightning-trackplus"


def main() -> None:
    """Check the installed package, and run the script and the commands in the working directory."""
    readme = Path(sys.argv[1]).read_text(encoding="utf-8")
    import lightning_trackplus

    site = sysconfig.get_path("purelib")
    assert lightning_trackplus.__file__.startswith(site), f"{lightning_trackplus.__file__} is not in {site}"
    metadata = importlib.metadata.metadata(DISTRIBUTION)
    assert metadata["Version"] == lightning_trackplus.__version__
    relative = re.findall(r"\]\((?!https://)[^)]*\)", metadata.get_payload())
    assert not relative, f"README has links that do not work on PyPI: {relative}"

    section = readme.partition("## First run\n")[2].partition("\n## ")[0]
    subprocess.run([sys.executable, "-c", re.search(r"```python\n(.*?)```", section, flags=re.DOTALL)[1]], check=True)
    commands = re.findall(r"^\$ (trackplus .+)$", section, flags=re.MULTILINE)
    assert len(commands) == 2
    trackplus = shutil.which("trackplus", path=sysconfig.get_path("scripts"))
    for command in commands:
        subprocess.run([trackplus, *command.split()[1:]], check=True)
    assert Path("report.html").stat().st_size > 1_000_000
    assert {path.name for path in Path("lightning_logs/version_0").iterdir()} >= {"metrics.csv", "media.csv", "media"}


if __name__ == "__main__":
    main()
