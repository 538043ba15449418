"""The running operator: watches wake keys, a queue works on them, a lease says whether to."""

from __future__ import annotations

import asyncio
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import kopf
import kubernetes
from aiohttp import web

from limr import logs
from limr_operator import acceptance, metrics, names
from limr_operator import lease as leases
from limr_operator.api import PAGE, Api, ApiError, Conflict
from limr_operator.lease import Lease, NotLeading
from limr_operator.liveness import Liveness
from limr_operator.reconcile import Settings, reconcile
from limr_operator.watches import CHILDREN, Key, NoDifferences, Watches, selector, watch_only_ours
from limr_operator.work_queue import WorkQueue

WORKERS = 4
STALE_SECONDS = 0.05  # how soon to try again after a decision from stale knowledge was refused
INFORM_SECONDS = 0.5
RESYNC_SECONDS = 300.0  # every experiment is looked at this often, whatever was or was not watched

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    namespaces: tuple[str, ...]  # to work for; none: all
    own_namespace: str
    identity: str  # of this replica
    lease_name: str
    port: int  # of /healthz, /readyz and /metrics
    reconcile: Settings


class Operator:
    def __init__(self, options: Options) -> None:
        self._options = options
        client = kubernetes.client.ApiClient(_configuration())
        self._lease = Lease(
            Api(client, fence=lambda: None), options.own_namespace, options.lease_name, options.identity
        )
        self._api = Api(client, fence=self._lease.check)
        self._liveness = Liveness()
        self._queue: WorkQueue[Key] = WorkQueue(self._work, WORKERS)
        self._registry = kopf.OperatorRegistry()
        self._watches = Watches(self._registry, self._queue.wake, self._on_lease)
        self._threads = ThreadPoolExecutor(WORKERS, "reconcile")
        self._ready = asyncio.Event()
        self._informed = False

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Whatever fails for good ends the process: it is started anew and knows no less."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = await self._serve()
        parts = (
            *(self._watch(stop), self._queue.run(), self._lead(), self._inform_and_resync()),
            *(self._kuberay_appears(), stop.wait()),
        )
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stop.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._lease.release()
            await server.cleanup()

    async def _watch(self, stop: asyncio.Event) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False  # events are ours: limr_operator.announce
        settings.persistence.diffbase_storage = NoDifferences()
        settings.scanning.disabled = True  # no rights for all kinds of the cluster are needed then
        settings.queueing.idle_timeout = 0.1  # seconds for which kopf keeps each object beside what is kept here
        settings.watching.chunk_size = PAGE
        watch_only_ours(settings, self._options.own_namespace, self._options.lease_name)
        kopf.on.login(registry=self._registry)(_login)
        namespaces = self._namespaces()
        await kopf.operator(
            registry=self._registry,
            settings=settings,
            standalone=True,
            clusterwide=not namespaces,
            namespaces=sorted(namespaces),
            ready_flag=self._ready,
            stop_flag=stop,
        )

    async def _lead(self) -> None:
        """Asks for the lease, and wakes everything when this replica begins to lead."""
        await self._ready.wait()
        leading = False
        while True:
            led = await asyncio.to_thread(self._lease.try_to_lead)
            self._liveness.read(self._lease.renewed_at)
            self._liveness.ready = True
            if led != leading:
                _log.info("%s %s", self._options.identity, "leads" if led else "follows")
            if led and not leading:
                self._wake_all()
            leading = led
            await asyncio.sleep(leases.RETRY_SECONDS)

    def _namespaces(self) -> set[str]:
        """To watch; none: all."""
        return {*self._options.namespaces, self._options.own_namespace} if self._options.namespaces else set()

    async def _inform_and_resync(self) -> None:
        """Nothing is decided before the watches have delivered all that exists: a child not seen yet is not gone."""
        await self._ready.wait()
        missing = (await self._existing()) - self._watches.uids()
        while missing:
            await asyncio.sleep(INFORM_SECONDS)
            missing = (missing & await self._existing()) - self._watches.uids()
        self._informed = True
        while True:
            self._wake_all()
            await asyncio.sleep(RESYNC_SECONDS)
            # kopf lists anew when a watch breaks, and says nothing of what went meanwhile.
            kept = self._watches.uids()
            self._watches.forget(kept - await self._existing())

    async def _existing(self) -> set[str]:
        """The uids of all experiments and children, once the API answers."""
        while True:
            try:
                return await asyncio.to_thread(self._list_uids)
            except ApiError as error:
                _log.warning("what exists could not be listed: %s", error)
                await asyncio.sleep(INFORM_SECONDS)

    def _list_uids(self) -> set[str]:
        where: set[str] | set[None] = self._namespaces() or {None}
        selectors = {names.KIND: "", **{kind: selector(kind) for kind in CHILDREN}}
        return {
            uid
            for kind, chosen in selectors.items()
            for namespace in where
            for uid in self._api.uids(kind, namespace, chosen)
        }

    async def _kuberay_appears(self) -> None:
        """Returns, and so ends the process, when KubeRay is there that was not at the start: kopf watches what it found
        then, and a new process watches RayJobs too."""
        if await asyncio.to_thread(self._api.serves, "RayJob"):
            await asyncio.Event().wait()  # for ever
        while not await asyncio.to_thread(self._api.serves, "RayJob"):
            await asyncio.sleep(acceptance.RECHECK_SECONDS)
        _log.info("KubeRay was installed; starting anew to watch its RayJobs")

    def _wake_all(self) -> None:
        for key in self._watches:
            self._queue.wake(key)

    async def _work(self, key: Key) -> float | None:
        namespace, name = key
        logs.about(namespace=namespace, experiment=name)  # its task's context, so a failure's line has it too
        if not self._informed or not self._lease.leading:
            return None
        snapshot = self._watches.snapshot(key)
        if snapshot is None:
            return None
        loop = asyncio.get_running_loop()
        now = datetime.now(UTC).replace(microsecond=0)  # the API keeps whole seconds
        try:
            with metrics.reconcile_seconds.time():
                work = partial(copy_context().run, reconcile, snapshot, self._api, self._options.reconcile, now)
                return await loop.run_in_executor(self._threads, work)
        except Conflict:
            return STALE_SECONDS
        except NotLeading:
            return None  # whoever leads now does it
        except Exception:
            metrics.reconcile_errors.inc()
            raise

    def _on_lease(self, body: kopf.Body) -> None:
        self._liveness.delivered(body.spec.get("renewTime") or "")

    async def _serve(self) -> web.AppRunner:
        app = web.Application()
        pages = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": self._metrics}
        app.add_routes([web.get(path, page) for path, page in pages.items()])
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, port=self._options.port).start()
        return runner

    async def _healthz(self, request: web.Request) -> web.Response:
        alive = self._liveness.alive
        words = "alive" if alive else f"watches have not delivered for {self._liveness.lag_seconds:.0f} s"
        return web.Response(text=words, status=200 if alive else 503)

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.Response(
            text="ready" if self._liveness.ready else "starting", status=200 if self._liveness.ready else 503
        )

    async def _metrics(self, request: web.Request) -> web.Response:
        leading = self._lease.leading
        readings = metrics.Readings(
            queue=len(self._queue),
            lag_seconds=self._liveness.lag_seconds,
            leading=leading,
            experiments=self._watches.experiments() if leading else (),
        )
        page = await asyncio.to_thread(metrics.page, readings)
        return web.Response(body=page, headers={"Content-Type": metrics.CONTENT_TYPE})


def _configuration() -> kubernetes.client.Configuration:
    configuration = kubernetes.client.Configuration()
    with suppress(kubernetes.config.ConfigException):
        kubernetes.config.load_incluster_config(configuration)
        return configuration
    kubernetes.config.load_kube_config(client_configuration=configuration)
    return configuration


def _login(**arguments: object) -> kopf.ConnectionInfo | None:
    return kopf.login_via_client(**arguments)
