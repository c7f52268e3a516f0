"""What several commands take, and the panels that group options in their help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .log_output import LogFormat, LogLevel

FOLDERS, CHANGES, DISPLAY = "Folders", "Changes to the workflow", "What is shown and kept"
JOBS, OPERATION, PLUGINS, SERVER = "Jobs", "Operation", "Plugins", "Server"
MODELS = "Models in memory"


class Dtype(StrEnum):
    """What networks compute in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class PreviewMethod(StrEnum):
    """How previews are made."""

    AUTO = "auto"
    LATENT2RGB = "latent2rgb"
    NONE = "none"


File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A JSON file (API or editor format), a picture that carries a workflow, the name of a bundled workflow "
        "such as text_to_image, or - for JSON on the standard input.",
        show_default=False,
    ),
]
ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Models are searched here first, in checkpoints/, loras/, vae/ and so on.",
        rich_help_panel=FOLDERS,
    ),
]
ExtraModelPaths = Annotated[
    Path | None,
    typer.Option(
        "--extra-model-paths",
        metavar="YAML",
        exists=True,
        dir_okay=False,
        help="An extra_model_paths.yaml of another installation, whose models are used too.",
        rich_help_panel=FOLDERS,
    ),
]
AllowPickles = Annotated[
    bool,
    typer.Option(
        "--allow-pickles",
        help="Read single files of weights that are pickles (.ckpt, .pt), by a loader that takes weights only.",
        rich_help_panel=FOLDERS,
    ),
]
InputDir = Annotated[
    Path | None,
    typer.Option(
        "--input-dir",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Where the pictures are that workflows load.",
        rich_help_panel=FOLDERS,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        metavar="FOLDER",
        file_okay=False,
        help="Where pictures are saved. Made if it is not there.",
        rich_help_panel=FOLDERS,
    ),
]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        metavar="FOLDER",
        file_okay=False,
        help="Keep what nodes compute here, so that a later run does not compute it again.",
        rich_help_panel=FOLDERS,
    ),
]
CacheSize = Annotated[
    float,
    typer.Option(
        "--cache-size",
        metavar="GB",
        min=0,
        help="How large the folder of --cache-dir may grow, 'cache' in the home when none is named; 0 keeps nothing.",
        rich_help_panel=FOLDERS,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="Where models run: cpu, cuda, cuda:1. Default: cuda if any."),
]
ComputedIn = Annotated[
    Dtype | None,
    typer.Option(
        "--dtype",
        help="What diffusion models compute in. Default: by their file and the device.",
        show_default=False,
        rich_help_panel=MODELS,
    ),
]
VaeComputedIn = Annotated[
    Dtype | None,
    typer.Option("--vae-dtype", help="What VAEs compute in.", show_default=False, rich_help_panel=MODELS),
]
TextComputedIn = Annotated[
    Dtype | None,
    typer.Option(
        "--text-encoder-dtype", help="What text encoders compute in.", show_default=False, rich_help_panel=MODELS
    ),
]
VramBudget = Annotated[
    str | None,
    typer.Option(
        "--vram-budget",
        metavar="SIZE",
        help="How much of the device's memory models and the work with them may take, as in 6G; else "
        "MEZZOTINT_VRAM_BUDGET, else 90% of what is free.",
        show_default=False,
        rich_help_panel=MODELS,
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="A Python file, or a folder with an __init__.py, with nodes of your own. May be repeated.",
        rich_help_panel=PLUGINS,
    ),
]
CustomNodes = Annotated[
    list[Path] | None,
    typer.Option(
        "--custom-nodes",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="A folder of node packs that are written for the de-facto class APIs. Their code is run. May be repeated.",
        rich_help_panel=FOLDERS,
    ),
]
PluginsDir = Annotated[
    Path | None,
    typer.Option(
        "--plugins-dir",
        metavar="FOLDER",
        file_okay=False,
        help="Where plugins lie; those that 'mezzotint plugins allow' allowed are loaded.",
        rich_help_panel=PLUGINS,
    ),
]
BlockPlugin = Annotated[
    list[str] | None,
    typer.Option(
        "--block-plugin",
        metavar="NAME",
        help="Do not load the plugin, or the distribution, of this name. May be repeated.",
        rich_help_panel=PLUGINS,
    ),
]
OutputStore = Annotated[
    str,
    typer.Option(
        "--output-store",
        metavar="NAME",
        help="Where saved files go: the output folder, or a store that a plugin brings.",
        rich_help_panel=FOLDERS,
    ),
]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="MEZZOTINT_SERVER",
        show_default=False,
        help="The server, as in http://127.0.0.1:8188.",
        rich_help_panel=SERVER,
    ),
]
ServerToken = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="MEZZOTINT_TOKEN",
        show_default=False,
        help="The token that the server asks for. Better given as MEZZOTINT_TOKEN.",
        rich_help_panel=SERVER,
    ),
]
Reload = Annotated[
    bool,
    typer.Option(
        "--reload",
        help="For plugin authors: load changed plugins again at once, and run those of the plugins folder and beside "
        "workflows without asking.",
        rich_help_panel=PLUGINS,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="MEZZOTINT_TOKEN",
        show_default=False,
        help="Let only those in who send this token, over HTTP and the websocket. Better given as MEZZOTINT_TOKEN: a "
        "command line can be read by other users of the machine.",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="How much main memory the process should hold, as in 8G: bounds what is kept, and refuses steps that are "
        "known to need more. Default: what is free.",
        show_default=False,
        rich_help_panel=OPERATION,
    ),
]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="Lines for people, or JSON for programs.", rich_help_panel=OPERATION)
]
LogLevelOption = Annotated[
    LogLevel, typer.Option("--log-level", help="Write this and what is worse.", rich_help_panel=OPERATION)
]
PreviewMethodOption = Annotated[
    PreviewMethod,
    typer.Option(
        "--preview-method",
        help="Pictures of what samplers have so far, for jobs that do not say themselves; auto is latent2rgb.",
    ),
]


def model_options(
    dtype: Dtype | None, vae_dtype: Dtype | None, text_encoder_dtype: Dtype | None, vram_budget: str | None
) -> dict[str, Any]:
    """What these options say, as `open_host` takes it."""
    named = {"dtype": dtype, "vae_dtype": vae_dtype, "text_encoder_dtype": text_encoder_dtype}
    return {**{name: given and given.value for name, given in named.items()}, "vram_budget": vram_budget}


def host_options(
    plugins: tuple[list[Path] | None, Path | None, list[str] | None, list[Path] | None],
    models_dir: Path | None = None,
    extra_model_paths: Path | None = None,
    input_dir: Path | None = None,
) -> dict[str, Any]:
    """What these options say, as `open_host` takes it; `plugins`: the files, the folder, what is blocked, the packs."""
    named, plugins_dir, blocked, custom_nodes = plugins
    return {
        "plugins": named,
        "plugins_dir": plugins_dir,
        "blocked_plugins": tuple(blocked or ()),
        "custom_nodes": custom_nodes,
        "models_dir": models_dir,
        "extra_model_paths": extra_model_paths,
        "input_dir": input_dir,
    }


def work_options(
    output_dir: Path | None,
    output_store: str,
    cache_dir: Path | None,
    device: str | None,
    *,
    reload: bool,
    allow_pickles: bool,
) -> dict[str, Any]:
    """What these options say, which commands take that run workflows, as `open_host` takes it."""
    return {
        "output_dir": output_dir,
        "output_store": output_store,
        "cache_dir": cache_dir,
        "device": device,
        "reload": reload,
        "allow_pickles": allow_pickles,
    }
