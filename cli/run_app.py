"""What can be said of `mezzotint run`."""

from __future__ import annotations

from typing import Annotated

import typer

from .option import (
    CHANGES,
    DISPLAY,
    AllowPickles,
    BlockPlugin,
    CacheDir,
    ComputedIn,
    CustomNodes,
    Device,
    ExtraModelPaths,
    File,
    InputDir,
    ModelsDir,
    OutputDir,
    OutputStore,
    PluginFiles,
    PluginsDir,
    Reload,
    ServerToken,
    ServerUrl,
    TextComputedIn,
    VaeComputedIn,
    VramBudget,
    host_options,
    model_options,
    work_options,
)

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NODE.INPUT=VALUE",
        help="Set an input. NODE is an id, a title, or a node type. May be repeated.",
        rich_help_panel=CHANGES,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help="Set the text that is encoded for the positive side of the sampler.",
        rich_help_panel=CHANGES,
    ),
]
Negative = Annotated[
    str | None,
    typer.Option("--negative", metavar="TEXT", help="Set the negative text.", rich_help_panel=CHANGES),
]
Seed = Annotated[
    str | None,
    typer.Option(
        "--seed",
        metavar="N|random",
        help="Set every seed. 'random' draws one for each run and tells it.",
        rich_help_panel=CHANGES,
    ),
]
Count = Annotated[
    int,
    typer.Option(
        "--count",
        metavar="N",
        min=1,
        help="Run so many times. From run to run, values change as the file says (its 'control after generate'); "
        "seeds that are given here, that the file keeps fixed or says nothing of, count up by 1.",
        rich_help_panel=CHANGES,
    ),
]
NoMetadata = Annotated[
    bool, typer.Option("--no-metadata", help="Save pictures without the workflow inside.", rich_help_panel=DISPLAY)
]
EventsAsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write the events as JSON lines to the standard output, everything else to the standard error.",
        rich_help_panel=DISPLAY,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Write only the files made, and errors.", rich_help_panel=DISPLAY)
]
Traceback = Annotated[
    bool,
    typer.Option(
        "--traceback",
        help="Show the whole traceback of a node that fails unexpectedly.",
        rich_help_panel=DISPLAY,
    ),
]


def run(
    file: File,
    settings: Settings = None,
    prompt: Prompt = None,
    negative: Negative = None,
    seed: Seed = None,
    count: Count = 1,
    output_dir: OutputDir = None,
    input_dir: InputDir = None,
    models_dir: ModelsDir = None,
    extra_model_paths: ExtraModelPaths = None,
    allow_pickles: AllowPickles = False,
    cache_dir: CacheDir = None,
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
    no_metadata: NoMetadata = False,
    as_json: EventsAsJson = False,
    quiet: Quiet = False,
    traceback: Traceback = False,
    server: ServerUrl = None,
    token: ServerToken = None,
) -> None:
    """Run a workflow and write what it makes.

    Dynamic prompts such as {red|blue} and dates such as %date:yyyy-MM-dd% are filled in for each run, as editors do.

    With --server the work is done there: pictures that the workflow names are sent, and what it makes is fetched.

    The files made are written to the standard output, one path a line. Ctrl-C stops a run; a second one leaves at once.

    Exit code: 0 done, 1 failed while running, 2 invalid workflow or options, 130 interrupted.

    [dim]mezzotint run text_to_image --prompt "a red apple" --seed random --count 4[/dim]
    """
    from .run import RunRequest
    from .run import run as run_workflow

    host = {
        **host_options((plugin, plugins_dir, block_plugin, custom_nodes), models_dir, extra_model_paths, input_dir),
        **model_options(dtype, vae_dtype, text_encoder_dtype, vram_budget),
        **work_options(output_dir, output_store, cache_dir, device, reload=reload, allow_pickles=allow_pickles),
        "save_metadata": not no_metadata,
    }
    request = RunRequest(
        file, settings or [], prompt, negative, seed, count, as_json, quiet, traceback, host, server or None, token
    )  # fmt: skip
    raise typer.Exit(run_workflow(request))
