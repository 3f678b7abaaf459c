"""Makes the cluster of a plan: on this machine, or of batch jobs with the class of dask-jobqueue."""

from __future__ import annotations

import os
import re
import shlex
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gears.dask.anywhere.gears_dask_scaling import Scaling

Record = dict[str, Any]


async def make_cluster(plan: Record, scaling: Scaling) -> Any:
    """Make and start the cluster, of the class that the plan names.

    All connections require the certificate, whatever the user's own configuration says.
    """
    tls = plan["tls"]
    pairs = {f"tls_{role}_{what}": tls for role in ("scheduler", "worker", "client") for what in ("cert", "key")}
    security = import_module("distributed").Security(require_encryption=True, tls_ca_file=tls, **pairs)
    scheduler = {"idle_timeout": plan["idle_timeout_s"]}
    make = local_cluster if plan["kind"] is None else batch_cluster
    cluster = make(plan, scaling, security, scheduler)
    cluster.scheduler_spec["cls"] = guarded(cluster.scheduler_spec["cls"], f"/{plan['prefix']}/")
    return await cluster


def guarded(scheduler_class: Any, prefix: str) -> Any:
    """Return a scheduler class that serves web pages only under `prefix`, and removes it before Dask sees the request.

    Dask's own prefix (`http_prefix`) is unsuitable: `/` redirects to it, which reveals it, and its pages then request
    their scripts at the top of JupyterLab's address.
    """
    from tornado import web

    class Nothing(web.RequestHandler):
        """The handler of a request outside the prefix."""

        def prepare(self) -> None:
            """Answer 404 to any method."""
            raise web.HTTPError(404)

    class Guarded(scheduler_class):  # type: ignore[misc]
        """A scheduler that finds its pages with `find_behind`."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            pages = self.http_application
            find = pages.find_handler

            def find_behind(request: Any, **options: Any) -> Any:
                """Remove the prefix and find the handler; `Nothing` for a request without the prefix."""
                if not request.path.startswith(prefix):
                    return pages.get_handler_delegate(request, Nothing)
                request.path = request.path[len(prefix) - 1 :]
                request.uri = request.uri[len(prefix) - 1 :]
                return find(request, **options)

            pages.find_handler = find_behind

    return Guarded


def local_cluster(plan: Record, _scaling: Scaling, security: Any, scheduler: Record) -> Any:
    """Return a cluster on this machine, without workers, on 127.0.0.1 only. It starts when awaited."""
    return import_module("distributed").LocalCluster(
        n_workers=0,
        **plan["options"],
        host="127.0.0.1",
        scheduler_port=plan["ports"]["scheduler"],
        dashboard_address=f"127.0.0.1:{plan['ports']['dashboard']}",
        scheduler_kwargs=scheduler,
        security=security,
        asynchronous=True,
    )


def batch_cluster(plan: Record, scaling: Scaling, security: Any, scheduler: Record) -> Any:
    """Return a cluster of jobs whose submissions are `watched`. It starts when awaited.

    Its scheduler listens on the plan's `host`, else on $GEARS_DASK_HOST, else on dask-jobqueue's choice; its web pages
    are on 127.0.0.1 only.
    """
    import dask

    cls = getattr(import_module("dask_jobqueue"), plan["class"])
    configured = dask.config.get(f"jobqueue.{plan['kind']}.scheduler-options", {}) or {}
    host = plan["host"] or os.environ.get("GEARS_DASK_HOST", "")
    where: Record = {"host": host} if host else {}
    where |= {"port": plan["ports"]["scheduler"], "dashboard_address": f"127.0.0.1:{plan['ports']['dashboard']}"}
    worker = {}
    if plan["worker"]:  # of another environment than the owner's
        before = dask.config.get(f"jobqueue.{plan['kind']}.job-script-prologue", []) or []
        worker = {**plan["worker"], "job_script_prologue": [*before, *plan["worker"]["prologue"]]}
        del worker["prologue"]
    return cls(
        **plan["options"],
        **worker,
        processes=plan["processes"],  # repeated here, or the workers of one job are not treated as a group
        name=plan["id"],
        job_name=plan["id"],
        job_cls=watched(cls.job_cls, scaling),
        scheduler_options=configured | where | scheduler,
        security=security,
        asynchronous=True,
    )


def watched(job_class: Any, scaling: Scaling) -> Any:
    """Return a subclass of dask-jobqueue's job class that reports submissions and refusals, which that only logs.

    dask-jobqueue keeps only the number in sbatch's output. Here the id of a job of another Slurm cluster includes the
    cluster, as everywhere in gears ("8;other"), and the job is cancelled there, not one of the same number here.
    """

    class WatchedJob(job_class):  # type: ignore[misc]
        """A job that reports its submission to `scaling`."""

        job_id: Any
        cancel_command: Any

        async def start(self) -> None:
            """Submit the job and report its id; if it is refused, report the reason and raise the error again."""
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as exc:
                self._set("failed")
                scaling.refused(self.name, refusal(exc))
                raise
            scaling.submitted(self.name, str(self.job_id))

        async def close(self) -> None:
            """Cancel the job, on the Slurm cluster to which it was submitted."""
            number, _, cluster = str(self.job_id or "").partition(";")
            if cluster:
                self.job_id, self.cancel_command = number, f"{self.cancel_command} --clusters={shlex.quote(cluster)}"
            await super().close()
            self._set("closed")

        def _job_id_from_submit_output(self, out: str) -> str:
            cluster = re.search(r"^Submitted batch job \d+ on cluster (\S+)", out, re.MULTILINE)
            number = str(super()._job_id_from_submit_output(out))
            return f"{number};{cluster[1]}" if cluster else number

        def _set(self, name: str) -> None:
            self.status: Any = import_module("distributed").Status[name]

    return WatchedJob


def refusal(exc: Exception) -> str:
    """Return the batch system's own message, at most 500 characters, from dask-jobqueue's error."""
    text = str(exc)
    message = text.partition("stderr:\n")[2].strip() or text.partition("stdout:\n")[2].strip() or text.strip()
    return " ".join(message.split())[:500]
