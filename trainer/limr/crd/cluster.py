"""What a cluster asks of a spec beyond what a laptop does, and what its API server must leave open."""

from __future__ import annotations

from limr.cel import Cel
from limr.crd.structural import Changes
from limr.spec import PAPER_PROTOCOL
from limr.validate import rules

_STORED = Cel(
    "self.startsWith('s3://') || self.startsWith('/')",
    "a relative path means nothing on a cluster; write s3://bucket/key, or the absolute path on a mounted volume",
)
_MODEL = Cel(
    "!(self in ['.', '..'] || ['./', '../', '~/'].exists(start, self.startsWith(start)))",
    "a relative path means nothing on a cluster; write a hub id, s3://bucket/prefix, or the absolute path on a mounted "
    "volume",
)
_STORAGE = Cel(
    "self.startsWith('s3://') || self.startsWith('/')",
    "a relative path means nothing on a cluster; write s3://bucket/prefix, or the absolute path of a folder on a "
    "volume that all its Pods mount",
)

SPEC = Changes(
    required=frozenset({"storage.uri"}),
    # The paper's protocol fills in what is not written, so a default would look as if a person had written it.
    without_default=frozenset(
        f"evaluation.benchmarks[].{field}" for settings in PAPER_PROTOCOL.values() for field in settings
    ),
    without_null=frozenset({"selection"}),  # CEL cannot see its parameters
    rules={
        **rules.CEL,
        "model.uri": (_MODEL,),
        "dataset.uri": (_STORED,),
        "storage.uri": (_STORAGE,),
        "selection.scoresFrom": (_STORED,),
        "evaluation.benchmarks[].uri": (_STORED,),
    },
)
STATUS = Changes(list_keys={"conditions": "type", "results": "name"})
