"""Keys of the ConfigMap by which an operator and a stage speak: `limr.config_map`."""

from __future__ import annotations

INPUT, STOP, POD, PROGRESS, RESULT = "input", "stop", "pod", "progress", "result"
