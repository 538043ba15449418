"""One Ray cluster on this machine's loopback interface, for as long as its parent lives.

A process of its own, because Ray ends the process that started a cluster when the cluster dies.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from limr.lifeline import die_with_parent

OBJECT_STORE_BYTES = 200_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for Ray's own files; the address is written here")
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    die_with_parent(options.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import ray

    ray.init(
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=str(options.folder),
    )
    address = options.folder / "address"
    temporary = address.with_suffix(".new")
    temporary.write_text(ray.get_runtime_context().gcs_address)
    os.replace(temporary, address)
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit())  # Ray's own exit handler ends its processes
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
