"""kubectl as a function."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from limr.errors import LimrError
from limr.kubectl.errors import Unreachable, explained

Object = dict[str, Any]

REQUEST_SECONDS = 15
CALL_SECONDS = 60.0  # a login by a browser or a cloud's tool may come first


@dataclass(frozen=True)
class Cluster:
    """The cluster and namespace that a person means; None: what the kubeconfig says."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: str | None = None

    def command(self, *arguments: str) -> list[str]:
        flags = {"--namespace": self.namespace, "--context": self.context, "--kubeconfig": self.kubeconfig}
        return ["kubectl", *arguments, *(f"{flag}={value}" for flag, value in flags.items() if value is not None)]

    def call(self, *arguments: str, seconds: float = CALL_SECONDS) -> str:
        """What kubectl printed. Raises KubectlError when it is refused or not answered, LimrError without kubectl."""
        command = self.command(*arguments, f"--request-timeout={REQUEST_SECONDS}s")
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=seconds, check=False
            )
        except FileNotFoundError:
            raise no_kubectl() from None
        except subprocess.TimeoutExpired:
            raise Unreachable(f"kubectl did not end within {seconds:.0f} s; check --context and the network") from None
        if done.returncode:
            raise explained(done.stderr)
        return done.stdout

    def get(self, *arguments: str) -> Object:
        found: Object = json.loads(self.call("get", *arguments, "--output=json"))
        return found

    def names(self, resource: str, seconds: float = CALL_SECONDS) -> list[str]:
        return [line.rpartition("/")[2] for line in self.call("get", resource, "-o", "name", seconds=seconds).split()]

    def patch(self, resource: str, name: str, change: Object) -> Object:
        """A merge patch."""
        arguments = ("--type=merge", f"--patch={json.dumps(change)}", "--field-manager=kubectl-limr", "--output=json")
        changed: Object = json.loads(self.call("patch", resource, name, *arguments))
        return changed

    def own_namespace(self) -> str:
        """Where commands look when nobody says where."""
        if self.namespace is not None:
            return self.namespace
        named = self.call("config", "view", "--minify", "--output=jsonpath={.contexts[0].context.namespace}")
        return named or "default"


def no_kubectl() -> LimrError:
    return LimrError("kubectl is not installed, or not in PATH; install it: limr speaks to clusters through it")


def shown(command: Sequence[str]) -> int:
    """Runs the command for the person to see; its exit status."""
    try:
        return subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        raise no_kubectl() from None
    except KeyboardInterrupt:
        return 130


def translated(command: Sequence[str], translation: Callable[[str], Sequence[str]]) -> int:
    """As `shown`, with each line that it prints replaced by those of `translation`."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise no_kubectl() from None
    with process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                for text in translation(line.rstrip("\n")):
                    print(text, flush=True)
            return process.wait()
        except KeyboardInterrupt:
            return 130
        finally:
            process.terminate()
