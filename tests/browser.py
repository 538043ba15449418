"""A real Chromium without a window."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # nothing leaves the machine, not even what the browser itself asks
)
SECONDS = 120
ITS_OWN = "not an origin"


def program() -> str:
    """Raises RuntimeError when none is installed."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("no Chromium found; install it (Debian: apt-get install chromium)")
    return found


def dom(page: Path, folder: Path, *options: str) -> str:
    """The document after its scripts have run. `folder` keeps the browser's profile."""
    command = [program(), *FLAGS, *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout


def requests(page: Path, folder: Path) -> set[str]:
    """URLs that the page asked the network for; what the browser asks for itself does not count."""
    log = folder / "net-log.json"
    dom(page, folder, f"--log-net-log={log}", "--virtual-time-budget=5000")
    logged = json.loads(log.read_text())
    started = logged["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    jobs = [event["params"] for event in logged["events"] if event["type"] == started and "params" in event]
    return {job["url"] for job in jobs if job.get("initiator", ITS_OWN) != ITS_OWN}
