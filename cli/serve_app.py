"""What can be said of `mezzotint serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from .log_output import LogFormat, LogLevel
from .option import (
    JOBS,
    AllowPickles,
    BlockPlugin,
    CacheDir,
    CacheSize,
    ComputedIn,
    CustomNodes,
    Device,
    ExtraModelPaths,
    InputDir,
    LogFormatOption,
    LogLevelOption,
    MaxMemory,
    ModelsDir,
    OutputDir,
    OutputStore,
    PluginFiles,
    PluginsDir,
    PreviewMethod,
    PreviewMethodOption,
    Reload,
    TextComputedIn,
    Token,
    VaeComputedIn,
    VramBudget,
    host_options,
    model_options,
    work_options,
)

Address = Annotated[
    str,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Where to listen. Others than this machine's own need --token or --insecure.",
    ),
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for any that is free.")]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Let everybody who can reach the address run workflows: no one is asked who they are."
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Where jobs are kept, as an SQLAlchemy URL. Default: jobs.sqlite in the home.",
        show_default=False,
        rich_help_panel=JOBS,
    ),
]
Parallel = Annotated[
    int,
    typer.Option("--parallel", metavar="N", min=1, help="How many jobs may run at once.", rich_help_panel=JOBS),
]
Grace = Annotated[
    float,
    typer.Option(
        "--grace",
        metavar="SECONDS",
        min=0,
        help="How long running jobs may go on when the server stops, before they are handed back to the queue.",
        rich_help_panel=JOBS,
    ),
]
Editor = Annotated[
    bool | None,
    typer.Option("--editor/--no-editor", show_default=False, help="Give / to the editor. Default: if installed."),
]
MultiUser = Annotated[
    bool,
    typer.Option("--multi-user", help="Let editors make users, each with settings and workflows of their own."),
]
CorsOrigin = Annotated[
    str | None,
    typer.Option(
        "--enable-cors-header",
        metavar="ORIGIN",
        help="Let the pages of another address, such as http://localhost:5173, use the server; '*' lets all.",
    ),
]


def serve(
    host: Address = "127.0.0.1",
    port: Port = 8188,
    token: Token = None,
    insecure: Insecure = False,
    database: Database = None,
    parallel: Parallel = 2,
    grace: Grace = 2.0,
    preview_method: PreviewMethodOption = PreviewMethod.AUTO,
    editor: Editor = None,
    multi_user: MultiUser = False,
    enable_cors_header: CorsOrigin = None,
    output_dir: OutputDir = None,
    input_dir: InputDir = None,
    models_dir: ModelsDir = None,
    extra_model_paths: ExtraModelPaths = None,
    allow_pickles: AllowPickles = False,
    cache_dir: CacheDir = None,
    cache_size: CacheSize = 10.0,
    max_memory: MaxMemory = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
    plugin: PluginFiles = None,
    plugins_dir: PluginsDir = None,
    block_plugin: BlockPlugin = None,
    custom_nodes: CustomNodes = None,
    reload: Reload = False,
    output_store: OutputStore = "local",
    device: Device = None,
    dtype: ComputedIn = None,
    vae_dtype: VaeComputedIn = None,
    text_encoder_dtype: TextComputedIn = None,
    vram_budget: VramBudget = None,
) -> None:
    """Serve editors and scripts over HTTP and a websocket.

    Jobs, their history and their events are kept in a database: they survive a restart, and a crash.
    """
    from .late_certificates import late_certificates

    with late_certificates():
        from .serve import ServeRequest
        from .serve import serve as serve_jobs

    options = {
        **host_options((plugin, plugins_dir, block_plugin, custom_nodes), models_dir, extra_model_paths, input_dir),
        **model_options(dtype, vae_dtype, text_encoder_dtype, vram_budget),
        **work_options(output_dir, output_store, cache_dir, device, reload=reload, allow_pickles=allow_pickles),
        "cache_nbytes": int(cache_size * 1e9),
    }
    request = ServeRequest(
        host, port, insecure, multi_user, enable_cors_header, options, token, editor, database, parallel, grace,
        has_previews=preview_method is not PreviewMethod.NONE,
        max_memory=max_memory, log_format=log_format, log_level=log_level,
    )  # fmt: skip
    raise typer.Exit(serve_jobs(request))
