"""What kubectl's refusals mean, in sentences that say what to do. Pure."""

from __future__ import annotations

import re

from limr.errors import LimrError


class KubectlError(LimrError):
    """kubectl ended with an error."""


class NoSuchObject(KubectlError):
    """There is no object of that name."""


class Forbidden(KubectlError):
    """The person lacks a right."""


class Unreachable(KubectlError):
    """No API server answered; the same call may succeed a moment later."""


_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)")?'
)
_NO_ANSWER = (
    "Unable to connect to the server",
    "The connection to the server",
    "couldn't get current server API group list",
    "i/o timeout",
    "context deadline exceeded",
    "ServiceUnavailable",
    "Timeout",
)
_NO_KIND = ("the server doesn't have a resource type", "no matches for kind")
_NO_LOGIN = ("You must be logged in", "(Unauthorized)")


def explained(said: str) -> KubectlError:
    """The error for what kubectl printed on its standard error."""
    lines = [line for line in said.strip().splitlines() if line.strip()]
    words = lines[-1].strip() if lines else "kubectl failed without a word"
    if "Error from server (NotFound)" in words:
        return NoSuchObject(_own(words))
    if found := _FORBIDDEN.search(said):
        return Forbidden(_missing_right(found))
    if any(sign in words for sign in _NO_KIND):
        return KubectlError(
            "this cluster has no LIMRExperiments; choose another one by --context, or install limr there"
        )
    if any(sign in words for sign in _NO_LOGIN):
        return KubectlError("the cluster does not know you (Unauthorized): log in, or choose another --context")
    if any(sign in words for sign in _NO_ANSWER):
        return Unreachable(f"the cluster does not answer ({_own(words)}); check --context and the network")
    return KubectlError(f"kubectl: {_own(words)}")


def _missing_right(found: re.Match[str]) -> str:
    resource = found["resource"] + (f".{found['group']}" if found["group"] else "")
    where = f" in namespace {found['namespace']}" if found["namespace"] else ""
    return (
        f"you ({found['user']}) may not {found['verb']} {resource}{where}; ask for a role that allows it, such as "
        "edit, or choose another --namespace or --context"
    )


def _own(words: str) -> str:
    """Without kubectl's and the server's beginnings."""
    return re.sub(r"^(error: |Error from server( \(\w+\))?: )+", "", words)
