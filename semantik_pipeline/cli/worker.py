"""``semantik worker``: run worker processes of a fleet until stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from semantik_pipeline.cli.invocation import begin


def worker(
    context: typer.Context,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE",
            help="Work to take: all, gpu (embedding first), cpu (no embedding) or search. "
            "[env: SEMANTIK_WORKER_PROFILE]",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Number of processes (default: one per GPU with the profile gpu, otherwise one)."
        ),
    ] = None,
) -> int:
    """Run a worker of a fleet until stopped (SIGTERM or Ctrl-C). Work in progress is finished or handed back.

    The same as `celery -A workers.app worker` with SEMANTIK_WORKER_PROFILE, but supervised: a process that dies is
    replaced.
    """
    call = begin(context)
    import signal

    from semantik_pipeline import logs
    from semantik_pipeline.errors import PipelineError
    from workers.profiles import profile as named
    from workers.supervisor import Supervisor

    settings = call.settings()
    changes = {"profile": profile or settings.worker.profile, "processes": processes or settings.worker.processes}
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update=changes)})
    settings.require_shared()
    level = "debug" if call.verbose else settings.logs.level
    logs.configure(settings.logs, level=level)
    said = {"SEMANTIK_DATA_DIR": str(settings.data_dir), "SEMANTIK_LOGS_LEVEL": level}
    if call.config:
        said["SEMANTIK_CONFIG"] = str(call.config.absolute())
    supervisor = Supervisor(settings, named(settings.worker.profile), said=said)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # not under nohup, which ignores SIGHUP
            signal.signal(number, supervisor.stop)
    if code := supervisor.run():
        raise PipelineError("This worker can't start.", "See the log above for the reason.")
    return code
