"""`python -m limr_operator`: reconciles LIMRExperiments until it is ended."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket

from limr import logs
from limr_operator.objects import Defaults
from limr_operator.operator import Operator, Options
from limr_operator.reconcile import Settings


def main() -> None:
    options = _parser().parse_args()
    logs.configure(options.log_format, options.log_level)
    asyncio.run(
        Operator(
            Options(
                namespaces=tuple(options.namespace),
                own_namespace=options.own_namespace,
                identity=options.identity,
                lease_name=options.lease,
                port=options.port,
                reconcile=Settings(
                    Defaults(options.trainer_image, options.image_pull_policy, options.log_format, options.log_level),
                    frozenset(options.strategy),
                ),
            )
        ).run()
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="limr-operator", description=__doc__)
    parser.add_argument("--trainer-image", required=True, help="for experiments that name none")
    parser.add_argument("--image-pull-policy", default="IfNotPresent")
    parser.add_argument("--namespace", action="append", default=[], help="to work for; repeatable; default: all")
    parser.add_argument("--strategy", action="append", default=[], help="that trainer images bring; repeatable")
    parser.add_argument("--own-namespace", default=os.environ.get("POD_NAMESPACE", "default"))
    parser.add_argument("--identity", default=os.environ.get("POD_NAME", f"{socket.gethostname()}-{os.getpid()}"))
    parser.add_argument("--lease", default="limr-operator", help="name of the Lease that replicas share")
    parser.add_argument("--port", type=int, default=8080, help="of /healthz, /readyz and /metrics")
    parser.add_argument("--log-format", default="json", choices=logs.FORMATS, help="of the operator and of stages")
    parser.add_argument("--log-level", default="INFO", choices=logs.LEVELS, help="of the operator and of stages")
    return parser


if __name__ == "__main__":
    main()
