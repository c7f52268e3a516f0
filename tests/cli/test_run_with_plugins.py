"""What plugins bring by hooks is consulted when a workflow runs from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Command, Outcome, Save

GAUSSIAN = Path(__file__).parents[2] / "examples" / "gaussian" / "mezzotint_gaussian.py"
PLUGIN = """
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint import Conditioning, Latent, hookimpl, node
from mezzotint.engine.value_type import Codec

# a value type


class Palette:
    def __init__(self, names):
        self.names = names


@hookimpl
def register_value_types(register):
    register(
        Codec(
            "tests.CliPalette",
            Palette,
            pack=lambda palette: palette.names,
            unpack=Palette,
            fingerprint=lambda palette: sorted(palette.names),
            show=lambda palette: " and ".join(palette.names),
        )
    )


def palette_of_file():
    return Palette(Path("palette.txt").read_text().split())


@node("ReadPalette", fingerprint=palette_of_file)
def read_palette() -> Any:
    return palette_of_file()


@node("PaletteSize")
def palette_size(palette: Any, salt: int) -> int:
    return len(palette.names)


# a sampler, a schedule and a guider


@hookimpl
def register_samplers(register):
    register("once", once)


def once(x, sigmas, step_noise, scaling):
    denoised = yield x, float(sigmas[0])
    return denoised * 10 + round(float(sigmas[0] / sigmas[1]))


@hookimpl
def register_schedules(register):
    register("fifths", fifths)


def fifths(model_sigmas, steps):
    import torch

    return torch.tensor([model_sigmas.sigma_max * 0.2**k for k in range(steps)] + [0.0])


@dataclass(frozen=True)
class OneMore:
    model: Any
    conditioning: Any
    evaluations = 1

    def predict(self, x, sigma):
        from mezzotint.nodes.sampling.guidance import BasicGuider

        return (yield from BasicGuider(self.model, self.conditioning).predict(x, sigma)) + 1


@hookimpl
def register_guiders(register):
    register("one more", lambda model, positive, negative, cfg: OneMore(model, positive))


@node("NoWords")
def no_words() -> Conditioning:
    import torch

    return [[torch.zeros(1, 1, 1), {}]]


@node("Mean")
def mean(latent: Latent) -> float:
    return round(float(latent["samples"].mean()), 2)


# an output store


class Shelf:
    def save(self, data, name):
        Path("shelf").mkdir(exist_ok=True)
        Path("shelf", f"{name.prefix}{name.extension}").write_bytes(data)
        return {"filename": f"{name.prefix}{name.extension}", "subfolder": "", "type": "output"}

    def read(self, filename, subfolder):
        return Path("shelf", filename).read_bytes()


@hookimpl
def register_output_stores(register):
    register("shelf", lambda folders: Shelf())
"""


def graph(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin's file: one for all tests, since a value type is known as long as the process lives."""
    path = tmp_path_factory.mktemp("plugin") / "bringing.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


def shown(outcome: Outcome, node: str) -> str:
    assert outcome.code == 0, outcome.err
    (text,) = (event["shown"]["text"][0] for event in outcome.events if event["event"] == "step_shown"
               and event["node_id"] == node)  # fmt: skip
    return str(text)


def source(outcome: Outcome, node: str) -> str:
    (found,) = (event["source"] for event in outcome.events if event["event"] == "step_finished"
                and event["node_id"] == node)  # fmt: skip
    return str(found)


def test_a_value_type_is_shown_named_in_keys_and_kept_on_disk(
    plain_mezzotint: Command, plugin: Path, save: Save, tmp_path: Path
) -> None:
    def run(palette: str, salt: int) -> Outcome:
        (tmp_path / "palette.txt").write_text(palette)
        file = save(
            graph(
                palette=("ReadPalette", {}), shown=("PreviewAny", {"source": ["palette", 0]}),
                size=("PaletteSize", {"palette": ["palette", 0], "salt": salt}),
                count=("PreviewAny", {"source": ["size", 0]}),
            )
        )  # fmt: skip
        return plain_mezzotint("run", file, "--plugin", plugin, "--cache-dir", "cache", "--json")

    first = run("red blue", 1)
    assert (shown(first, "shown"), source(first, "palette")) == ("red and blue", "ran")
    again = run("blue red", 2)  # equal by its fingerprint; what was kept is handed on
    assert (shown(again, "shown"), source(again, "palette")) == ("red and blue", "disk")
    assert (shown(again, "count"), source(again, "size")) == ("2", "ran")
    other = run("green", 2)
    assert (shown(other, "shown"), source(other, "palette")) == ("green", "ran")


def test_a_sampler_a_schedule_a_guider_and_a_model_family_draw_together(
    plain_mezzotint: Command, plugin: Path, save: Save, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    tensors = {"mean": torch.full((3, 1, 1), 2.0), "spread": torch.tensor([1e-4])}
    save_file(tensors, tmp_path / "models" / "checkpoints" / "twos.safetensors", {"family": "gaussian"})
    file = save(
        graph(
            model=("CheckpointLoaderSimple", {"ckpt_name": "twos.safetensors"}),
            words=("NoWords", {}),
            guider=("GuiderSelect", {"model": ["model", 0], "positive": ["words", 0], "negative": ["words", 0],
                                     "guider_name": "one more", "cfg": 1.0}),
            sigmas=("BasicScheduler", {"model": ["model", 0], "scheduler": "fifths", "steps": 2, "denoise": 1.0}),
            sampler=("KSamplerSelect", {"sampler_name": "once"}),
            noise=("RandomNoise", {"noise_seed": 3}),
            latent=("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
            drawn=("SamplerCustomAdvanced", {
                "noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["sampler", 0], "sigmas": ["sigmas", 0],
                "latent_image": ["latent", 0],
            }),
            mean=("Mean", {"latent": ["drawn", 0]}),
            shown=("PreviewAny", {"source": ["mean", 0]}),
        )
    )  # fmt: skip
    plugins = ("--plugin", plugin, "--plugin", GAUSSIAN, "--models-dir", "models")
    # The family's mean is 2, the guider adds 1, the sampler takes it tenfold and adds by how much the schedule falls.
    assert shown(plain_mezzotint("run", file, *plugins, "--json"), "shown") == "35.0"


def test_an_output_store_gets_the_files(plain_mezzotint: Command, plugin: Path, save: Save, tmp_path: Path) -> None:
    file = save(
        graph(
            image=("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": 0}),
            saved=("SaveImage", {"images": ["image", 0], "filename_prefix": "grey"}),
        )
    )
    outcome = plain_mezzotint("run", file, "--plugin", plugin, "--output-store", "shelf")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "shelf" / "grey.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "home" / "output").exists()
