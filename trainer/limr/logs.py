"""How a process of ours logs: JSON on a cluster, one object a line, and text for a person."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextvars import ContextVar
from types import TracebackType

from limr.log_lines import EXCEPTION

FORMATS = ("json", "text")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMAT, LEVEL = "LIMR_LOG_FORMAT", "LIMR_LOG_LEVEL"  # variables of the environment
OURS = ("limr", "limr_operator")
KOPFS = ("k8s_skip", "k8s_ref", "settings")  # attributes that kopf gives its records, for its own use

_about: ContextVar[dict[str, object]] = ContextVar("about", default={})  # noqa: B039 - it is never changed, only set

_log = logging.getLogger(__name__)


def about(**fields: object) -> None:
    """What is logged from here on, by this thread or task, has these fields: namespace, experiment, stage, attempt."""
    _about.set({**_about.get(), **fields})


def configure(form: str | None = None, level: str | None = None) -> None:
    """Logs to stderr, by default as the environment says; other libraries no less than warnings.

    An exception that nobody catches is logged too, so that it stays in one record.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_json() if (form or os.environ.get(FORMAT, "text")) == "json" else _text())
    handler.addFilter(_add_context)
    number = logging.getLevelNamesMapping()[level or os.environ.get(LEVEL, "INFO")]
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(number)
    logging.captureWarnings(True)
    sys.excepthook = log_crash
    threading.excepthook = _log_crash_of_thread


def log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("ended by an exception that nobody expected", exc_info=(kind, error, trace))


def _log_crash_of_thread(crash: threading.ExceptHookArgs) -> None:
    error = crash.exc_value or crash.exc_type()
    name = crash.thread.name if crash.thread else "a thread"
    words = "%s: ended by an exception that nobody expected"
    _log.critical(words, name, exc_info=(crash.exc_type, error, crash.exc_traceback))


def _add_context(record: logging.LogRecord) -> bool:
    for name, value in {**_of_kopf(record), **_about.get()}.items():
        if not hasattr(record, name):
            setattr(record, name, value)
    where = "/".join(str(vars(record)[name]) for name in ("namespace", "experiment") if name in vars(record))
    vars(record)["where"] = f"{where}: " if where else ""
    return True


def _of_kopf(record: logging.LogRecord) -> dict[str, object]:
    """Which object kopf speaks of."""
    named = getattr(record, "k8s_ref", None) or {}
    names = {"namespace": named.get("namespace")}
    if named.get("kind") == "LIMRExperiment":
        names["experiment"] = named.get("name")
    return {key: value for key, value in names.items() if value}


def _text() -> logging.Formatter:
    return logging.Formatter("%(asctime)s %(levelname)s %(name)s %(where)s%(message)s")


def _json() -> logging.Formatter:
    from pythonjsonlogger.core import RESERVED_ATTRS  # a laptop need not have the library
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        ("levelname", "name", "message"),
        defaults={"time": ""},  # in the first place
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": EXCEPTION, "stack_info": "stack"},
        reserved_attrs=[*RESERVED_ATTRS, *KOPFS, "where"],
    )
