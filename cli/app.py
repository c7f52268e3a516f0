"""What can be said on the command line. The commands themselves are imported when they are called."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .jobs_app import jobs_app
from .option import (
    CHANGES,
    DISPLAY,
    AllowPickles,
    AsJson,
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
)
from .plugin_app import plugin_app
from .plugin_commands import PluginGroup
from .plugins_app import plugins_app
from .serve_app import serve

app = typer.Typer(
    name="mezzotint",
    cls=PluginGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(plugins_app, name="plugins")
app.add_typer(plugin_app, name="plugin")
app.add_typer(jobs_app, name="jobs")


def app_for(words: Sequence[str]) -> typer.Typer:
    """The app, with that command alone which the first word names: to make all takes longer than to run a small one."""
    named = words[0] if words else ""
    one = copy.copy(app)
    one.registered_commands = [
        made for made in app.registered_commands if getattr(made.callback, "__name__", "") == named
    ]
    one.registered_groups = [made for made in app.registered_groups if made.name == named]
    return one if one.registered_commands or one.registered_groups else app


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        typer.echo(f"mezzotint {version('mezzotint')}")
        raise typer.Exit


@app.callback()
def mezzotint(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Run node workflows of diffusion models."""


@app.command(no_args_is_help=True)
def run(
    file: File,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NODE.INPUT=VALUE",
            help="Set an input. NODE is an id, a title, or a node type. May be repeated.",
            rich_help_panel=CHANGES,
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="Set the text that is encoded for the positive side of the sampler.",
            rich_help_panel=CHANGES,
        ),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option("--negative", metavar="TEXT", help="Set the negative text.", rich_help_panel=CHANGES),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            "--seed",
            metavar="N|random",
            help="Set every seed. 'random' draws one for each run and tells it.",
            rich_help_panel=CHANGES,
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--count",
            metavar="N",
            min=1,
            help="Run so many times. From run to run, values change as the file says (its 'control after generate'); "
            "seeds that are given here, that the file keeps fixed or says nothing of, count up by 1.",
            rich_help_panel=CHANGES,
        ),
    ] = 1,
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
    no_metadata: Annotated[
        bool,
        typer.Option("--no-metadata", help="Save pictures without the workflow inside.", rich_help_panel=DISPLAY),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Write the events as JSON lines to the standard output, everything else to the standard error.",
            rich_help_panel=DISPLAY,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Write only the files made, and errors.", rich_help_panel=DISPLAY),
    ] = False,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            help="Show the whole traceback of a node that fails unexpectedly.",
            rich_help_panel=DISPLAY,
        ),
    ] = False,
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

    host: dict[str, Any] = {
        **host_options((plugin, plugins_dir, block_plugin, custom_nodes), models_dir, extra_model_paths, input_dir),
        "output_dir": output_dir,
        "cache_dir": cache_dir,
        "device": device,
        **model_options(dtype, vae_dtype, text_encoder_dtype, vram_budget),
        "save_metadata": not no_metadata,
        "allow_pickles": allow_pickles,
        "reload": reload,
        "output_store": output_store,
    }
    request = RunRequest(
        file, settings or [], prompt, negative, seed, count, as_json, quiet, traceback, host, server or None, token
    )  # fmt: skip
    raise typer.Exit(run_workflow(request))


@app.command(no_args_is_help=True)
def validate(
    file: File,
    as_json: AsJson = False,
    input_dir: InputDir = None,
    models_dir: ModelsDir = None,
    extra_model_paths: ExtraModelPaths = None,
    plugin: PluginFiles = None,
    plugins_dir: PluginsDir = None,
    block_plugin: BlockPlugin = None,
    custom_nodes: CustomNodes = None,
) -> None:
    """Check a workflow without running it. Exit code 2 if anything is wrong."""
    from .validate import validate as validate_workflow

    host = host_options((plugin, plugins_dir, block_plugin, custom_nodes), models_dir, extra_model_paths, input_dir)
    raise typer.Exit(validate_workflow(file, as_json=as_json, host=host))


@app.command(no_args_is_help=True)
def convert(
    file: File,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Write here, not to the standard output."),
    ] = None,
    plugin: PluginFiles = None,
    plugins_dir: PluginsDir = None,
    block_plugin: BlockPlugin = None,
    custom_nodes: CustomNodes = None,
) -> None:
    """Convert a workflow, such as an editor's or a picture's, to API format."""
    from .convert import convert as convert_workflow

    raise typer.Exit(convert_workflow(file, output, host_options((plugin, plugins_dir, block_plugin, custom_nodes))))


@app.command()
def nodes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A node type.", show_default=False)] = None,
    as_json: AsJson = False,
    models_dir: ModelsDir = None,
    extra_model_paths: ExtraModelPaths = None,
    plugin: PluginFiles = None,
    plugins_dir: PluginsDir = None,
    block_plugin: BlockPlugin = None,
    custom_nodes: CustomNodes = None,
) -> None:
    """List the nodes, or show the inputs, limits and outputs of one."""
    from .nodes import show_nodes

    host = host_options((plugin, plugins_dir, block_plugin, custom_nodes), models_dir, extra_model_paths)
    raise typer.Exit(show_nodes(name, as_json=as_json, host=host))


@app.command()
def models(
    as_json: AsJson = False,
    models_dir: ModelsDir = None,
    extra_model_paths: ExtraModelPaths = None,
    plugin: PluginFiles = None,
    plugins_dir: PluginsDir = None,
    block_plugin: BlockPlugin = None,
) -> None:
    """List the models there are and where they lie."""
    from .models import show_models

    raise typer.Exit(
        show_models(
            as_json=as_json,
            host=host_options((plugin, plugins_dir, block_plugin, None), models_dir, extra_model_paths),
        )
    )


app.command()(serve)


@app.command()
def doctor(
    output_dir: OutputDir = None,
    models_dir: ModelsDir = None,
    extra_model_paths: ExtraModelPaths = None,
    plugin: PluginFiles = None,
    plugins_dir: PluginsDir = None,
    block_plugin: BlockPlugin = None,
) -> None:
    """Check the installation: versions, device, memory, folders, models, plugins. Exit code 1 if any is broken."""
    from .doctor import doctor as look

    host = {
        **host_options((plugin, plugins_dir, block_plugin, None), models_dir, extra_model_paths),
        "output_dir": output_dir,
    }
    raise typer.Exit(look(host))
