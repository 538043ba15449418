"""Programs built from Go modules, once, and kept in a cache outside the checkout."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from command import output_of

BUILD_SECONDS = 1800.0


@dataclass(frozen=True)
class GoProgram:
    """`package` may be installed by `go install package@version`: its module's go.mod has no replacements.

    That also asks the module proxy for the newest release, and it takes the dependencies' checksums from a public
    database. Where either is refused, `whole_module` builds in a copy of the module, which lists the checksums itself.
    A `module` that replaces parts of it by folders is required by a module of ours: then the parts' releases count.
    """

    name: str
    package: str
    version: str
    whole_module: bool = False  # the package is the module's root
    module: str = ""

    def binary(self) -> Path:
        """The program. Raises RuntimeError when it is neither in the cache nor can be built."""
        build = self._build_required if self.module else self._build_copy if self.whole_module else self._install
        return built_once(self.name, self.version, build)

    def source(self) -> Path:
        """The module's folder in Go's cache, when it is named or the package is its root."""
        downloaded = run_go("mod", "download", "-json", f"{self.module or self.package}@{self.version}")
        return Path(json.loads(downloaded)["Dir"])

    def _install(self, folder: Path) -> None:
        run_go("install", f"{self.package}@{self.version}", GOBIN=str(folder))
        next(folder.iterdir()).rename(folder / self.name)  # `go install` names it after the package

    def _build_required(self, folder: Path) -> None:
        go_mod = f"module limr.dev/tests\ngo 1.24.0\nrequire {self.module} {self.version}\n"
        (folder / "go.mod").write_text(go_mod)
        flags = ("-mod=mod", "-trimpath", "-ldflags=-s -w")
        run_go("build", *flags, "-o", self.name, self.package, cwd=folder)

    def _build_copy(self, folder: Path) -> None:
        copy = shutil.copytree(self.source(), folder / "module", copy_function=shutil.copyfile)
        run_go("build", "-o", str(folder / self.name), ".", cwd=copy)


def cache_folder() -> Path:
    """What tests keep from one run, and one checkout, to the next."""
    return Path(os.environ.get("LIMR_CACHE", "~/.cache/limr")).expanduser()


def built_once(name: str, version: str, build: Callable[[Path], None]) -> Path:
    """The cached program; `build` leaves it below its name in the empty folder that it is given."""
    cache = cache_folder() / "bin"
    cache.mkdir(parents=True, exist_ok=True)
    binary = cache / f"{name}-{version}-static"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                build(Path(folder))
                (Path(folder) / name).rename(binary)
    return binary


def run_go(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    """What `go` printed. Programs are linked statically, so that they also run in an image that has nothing else."""
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise RuntimeError("the tests build their servers from Go source, and there is no `go`; install Go 1.26")
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    return output_of([go, *arguments], seconds=BUILD_SECONDS, cwd=cwd, env={**os.environ, **settings, **environment})
