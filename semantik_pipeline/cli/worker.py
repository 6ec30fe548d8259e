"""``semantik worker``: work for a fleet until told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from semantik_pipeline.cli.invocation import begin


def worker(
    context: typer.Context,
    profile: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="all, gpu, cpu or search. [env: SEMANTIK_WORKER_PROFILE]")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes side by side; one for each GPU, else one, unless given.")
    ] = None,
) -> int:
    """Answer the queues of a profile until stopped (SIGTERM or Ctrl-C): what is in hand is finished or given back.

    The same as ``celery -A workers.app worker`` with SEMANTIK_WORKER_PROFILE, and a supervisor over its processes.
    """
    call = begin(context)
    import os
    import signal

    if call.data_dir:
        os.environ["SEMANTIK_DATA_DIR"] = str(call.data_dir.expanduser().absolute())
    if call.config:
        os.environ["SEMANTIK_CONFIG"] = str(call.config.absolute())
    for name, value in (("PROFILE", profile), ("PROCESSES", processes)):
        if value is not None:
            os.environ[f"SEMANTIK_WORKER_{name}"] = str(value)

    from semantik_pipeline.errors import SettingsError
    from semantik_pipeline.settings import load_settings
    from workers.profiles import profile as named
    from workers.supervisor import Supervisor, worker_command

    settings = load_settings()
    if settings.broker.url.startswith("memory://"):
        raise SettingsError(
            "Workers need a broker that other processes reach.",
            "Set SEMANTIK_BROKER_URL (redis://… or amqp://…); without one, `semantik index` works by itself.",
        )
    chosen = named(settings.worker.profile)
    settings.require_shared()
    supervisor = Supervisor(worker_command(), settings, chosen, settings.worker.profile)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    return supervisor.run()
