"""`mezzotint jobs` and the commands below it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .option import AsJson, ServerToken, ServerUrl

jobs_app = typer.Typer(invoke_without_command=True)

_JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, or how it begins.", show_default=False)]
_JobIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="The jobs' ids, or how they begin.", show_default=False)
]


@jobs_app.callback()
def jobs(
    ctx: typer.Context,
    statuses: Annotated[
        list[str] | None,
        typer.Option(
            "--status",
            metavar="STATUS",
            help="Only jobs that are pending, in_progress, completed, failed or cancelled. May be repeated.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="So many at most, the newest.")] = 20,
    as_json: AsJson = False,
    server: ServerUrl = None,
    token: ServerToken = None,
) -> None:
    """List the jobs of a server: what runs, what waits in its order, and what has ended."""
    if ctx.invoked_subcommand is not None:
        return
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token, as_json=as_json).list(statuses or [], limit))


@jobs_app.command(no_args_is_help=True)
def show(job_id: _JobId, as_json: AsJson = False, server: ServerUrl = None, token: ServerToken = None) -> None:
    """Show one job: its state, times, outputs, and why it failed."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token, as_json=as_json).show(job_id))


@jobs_app.command(no_args_is_help=True)
def cancel(job_ids: _JobIds, server: ServerUrl = None, token: ServerToken = None) -> None:
    """Stop jobs that run, and drop jobs that wait."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token).cancel(job_ids))


@jobs_app.command(no_args_is_help=True)
def move(
    job_id: _JobId,
    to: Annotated[
        Literal["front", "back"] | None, typer.Option("--to", help="Before or behind all that waits.")
    ] = None,
    before: Annotated[str, typer.Option("--before", metavar="ID", help="Before another job.", show_default=False)] = "",
    after: Annotated[str, typer.Option("--after", metavar="ID", help="Behind another job.", show_default=False)] = "",
    server: ServerUrl = None,
    token: ServerToken = None,
) -> None:
    """Give a job that waits another place in the queue."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token).move(job_id, to, before, after))


@jobs_app.command(no_args_is_help=True)
def priority(
    job_id: _JobId,
    number: Annotated[float, typer.Argument(metavar="N", help="The lowest runs first.", show_default=False)],
    server: ServerUrl = None,
    token: ServerToken = None,
) -> None:
    """Give a job that waits another priority. Write a negative one behind --."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token).prioritise(job_id, number))


@jobs_app.command(no_args_is_help=True)
def retry(job_ids: _JobIds, server: ServerUrl = None, token: ServerToken = None) -> None:
    """Queue jobs that have ended once more; the new ids are written, one a line."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token).retry(job_ids))


@jobs_app.command(no_args_is_help=True)
def delete(job_ids: _JobIds, server: ServerUrl = None, token: ServerToken = None) -> None:
    """Forget jobs that have ended, and drop jobs that wait. Their files stay."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token).delete(job_ids))


@jobs_app.command()
def pause(server: ServerUrl = None, token: ServerToken = None) -> None:
    """Let running jobs go on, and start no others."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token).pause(True))


@jobs_app.command()
def resume(server: ServerUrl = None, token: ServerToken = None) -> None:
    """Start jobs again."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token).pause(False))


@jobs_app.command(no_args_is_help=True)
def watch(job_id: _JobId, as_json: AsJson = False, server: ServerUrl = None, token: ServerToken = None) -> None:
    """Follow a job to its end, with its progress; Ctrl-C leaves it alone. Exit code as of `mezzotint run`."""
    from .jobs import Jobs

    raise typer.Exit(Jobs(server, token, as_json=as_json).watch(job_id))
