"""What can be said on the command line. The commands themselves are imported when they are called."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .jobs_app import jobs_app
from .option import (
    AsJson,
    BlockPlugin,
    CustomNodes,
    ExtraModelPaths,
    File,
    InputDir,
    ModelsDir,
    OutputDir,
    PluginFiles,
    PluginsDir,
    host_options,
)
from .plugin_app import plugin_app
from .plugin_commands import PluginGroup
from .plugins_app import plugins_app
from .run_app import run
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


app.command(no_args_is_help=True)(run)


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
