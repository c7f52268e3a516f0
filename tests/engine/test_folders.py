"""Folders list what lies in them, follow links, honour other programs' settings, and let no name escape."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mezzotint.engine import folders as folders_module
from mezzotint.engine.errors import FolderError, MissingModelError
from mezzotint.engine.extra_paths import read_extra_paths
from mezzotint.engine.folders import Folders, bundle_model, default_home
from mezzotint.engine.listed_folder import ListedFolder

ESCAPES = ["", "../x", "a/../../x", "..", "/etc/passwd", "C:/x", "c:x", "a\\b", "..\\x", "a\0b", "//host/share/x"]


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("links cannot be made here")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def folders(tmp_path: Path, models: Path) -> Folders:
    return Folders(tmp_path / "home", models=[models])


@pytest.fixture(autouse=True)
def own_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders_module, "_bundled", {})


class TestListing:
    def test_models_are_listed_by_their_path_below_the_folder_in_order(self, folders: Folders, models: Path) -> None:
        loras = models / "loras"
        touch(loras / "b.safetensors", loras / "sub" / "deep" / "c.PT", loras / "a.ckpt", loras / "B.sft")
        touch(loras / "readme.txt", loras / "a.safetensors.part", loras / ".hidden.pt", loras / ".git" / "x.pt")
        assert folders.filenames("loras") == ["B.sft", "a.ckpt", "b.safetensors", "sub/deep/c.PT"]

    def test_every_listed_model_is_found(self, folders: Folders, models: Path) -> None:
        touch(models / "vae" / "a.pt", models / "vae" / "x" / "b.safetensors")
        names = folders.filenames("vae")
        assert len(names) == 2
        assert [folders.find("vae", name) for name in names] == [models / "vae" / name for name in names]

    def test_a_missing_folder_holds_nothing(self, folders: Folders) -> None:
        assert folders.filenames("loras") == []
        assert folders.find("loras", "a.pt") is None

    def test_the_first_models_folder_that_has_a_name_wins(self, tmp_path: Path) -> None:
        one, two = tmp_path / "1", tmp_path / "2"
        touch(one / "loras" / "a.pt", two / "loras" / "a.pt", two / "loras" / "b.pt")
        folders = Folders(tmp_path, models=[one, two])
        assert folders.filenames("loras") == ["a.pt", "b.pt"]
        assert folders.find("loras", "a.pt") == one / "loras" / "a.pt"
        assert folders.find("loras", "b.pt") == two / "loras" / "b.pt"

    def test_older_names_mean_the_newer_kinds(self, folders: Folders, models: Path) -> None:
        touch(models / "unet" / "a.pt", models / "diffusion_models" / "b.pt", models / "clip" / "c.pt")
        assert folders.filenames("unet") == folders.filenames("diffusion_models") == ["a.pt", "b.pt"]
        assert folders.filenames("text_encoders") == folders.filenames("clip") == ["c.pt"]

    def test_the_usual_kinds_are_there(self, folders: Folders) -> None:
        usual = (
            "checkpoints configs loras vae text_encoders diffusion_models clip_vision style_models embeddings diffusers"
        )
        more = "vae_approx controlnet gligen upscale_models custom_nodes hypernetworks photomaker classifiers"
        assert {*usual.split(), *more.split(), "model_patches", "audio_encoders", "ipadapter", "perceptual"} == {
            *folders.kinds
        }

    def test_configs_are_yaml_files(self, folders: Folders, models: Path) -> None:
        touch(models / "configs" / "v1.yaml", models / "configs" / "v1.safetensors")
        assert folders.filenames("configs") == ["v1.yaml"]

    def test_an_unknown_kind_is_a_sentence(self, folders: Folders) -> None:
        with pytest.raises(FolderError, match="no kind of model 'nothing'; there are checkpoints"):
            folders.filenames("nothing")

    def test_new_files_are_seen_at_once(self, folders: Folders, models: Path) -> None:
        touch(models / "loras" / "sub" / "a.pt")
        assert folders.filenames("loras") == ["sub/a.pt"]
        touch(models / "loras" / "sub" / "b.pt")
        assert folders.filenames("loras") == ["sub/a.pt", "sub/b.pt"]
        (models / "loras" / "sub" / "a.pt").unlink()
        assert folders.filenames("loras") == ["sub/b.pt"]

    def test_a_folder_at_rest_is_not_listed_again(
        self, folders: Folders, models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        touch(models / "loras" / "sub" / "a.pt")
        rest([models / "loras", models / "loras" / "sub"])
        assert folders.filenames("loras") == ["sub/a.pt"]
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: pytest.fail(f"listed {path} again"))
        assert folders.filenames("loras") == ["sub/a.pt"]
        monkeypatch.setattr(os, "scandir", scandir)
        touch(models / "loras" / "sub" / "b.pt")
        assert folders.filenames("loras") == ["sub/a.pt", "sub/b.pt"]

    def test_a_folder_that_appears_later_is_seen(self, folders: Folders, models: Path) -> None:
        assert folders.filenames("loras") == []
        touch(models / "loras" / "a.pt")
        rest([models / "loras"])
        assert folders.filenames("loras") == ["a.pt"]


def rest(paths: list[Path]) -> None:
    """Make folders look as if nothing had changed in them for an hour."""
    then = time.time() - 3600
    for path in paths:
        os.utime(path, (then, then))


class TestLinks:
    def test_linked_files_and_folders_are_followed(self, folders: Folders, models: Path, tmp_path: Path) -> None:
        touch(tmp_path / "elsewhere" / "a.pt", tmp_path / "b.pt")
        link(models / "loras" / "linked", tmp_path / "elsewhere")
        link(models / "loras" / "b.pt", tmp_path / "b.pt")
        assert folders.filenames("loras") == ["b.pt", "linked/a.pt"]
        assert folders.find("loras", "linked/a.pt") == models / "loras" / "linked" / "a.pt"

    def test_a_folder_linked_twice_is_listed_twice(self, folders: Folders, models: Path, tmp_path: Path) -> None:
        touch(tmp_path / "elsewhere" / "a.pt")
        link(models / "loras" / "x", tmp_path / "elsewhere")
        link(models / "loras" / "y", tmp_path / "elsewhere")
        assert folders.filenames("loras") == ["x/a.pt", "y/a.pt"]

    def test_links_in_a_circle_end(self, folders: Folders, models: Path) -> None:
        touch(models / "loras" / "sub" / "a.pt")
        link(models / "loras" / "sub" / "up", models / "loras")
        link(models / "loras" / "self", models / "loras" / "self")
        link(models / "loras" / "gone.pt", models / "nothing.pt")
        assert folders.filenames("loras") == ["sub/a.pt"]


class TestSavedModels:
    def test_what_was_saved_in_the_output_folder_is_found_after_the_models(
        self, folders: Folders, models: Path
    ) -> None:
        touch(folders.output / "checkpoints" / "a.safetensors", folders.output / "clip" / "sub" / "b.safetensors")
        assert folders.filenames("checkpoints") == ["a.safetensors"]
        assert (
            folders.require("text_encoders", "sub/b.safetensors") == folders.output / "clip" / "sub" / "b.safetensors"
        )
        touch(models / "checkpoints" / "a.safetensors")
        assert folders.require("checkpoints", "a.safetensors") == models / "checkpoints" / "a.safetensors"
        assert folders.model_folders("checkpoints") == (models / "checkpoints",)


class TestPipelines:
    @pytest.mark.parametrize("place", ["checkpoints", "diffusers"])
    def test_a_diffusers_folder_is_one_checkpoint(self, folders: Folders, models: Path, place: str) -> None:
        pipeline = models / place / "org" / "model"
        touch(pipeline / "model_index.json", pipeline / "unet" / "diffusion_pytorch_model.safetensors")
        touch(models / "checkpoints" / "a.safetensors")
        assert folders.filenames("checkpoints") == ["a.safetensors", "org/model"]
        assert folders.find("checkpoints", "org/model") == pipeline

    def test_weights_in_the_diffusers_folder_are_no_checkpoints(self, folders: Folders, models: Path) -> None:
        touch(models / "diffusers" / "part" / "a.safetensors")
        assert folders.filenames("checkpoints") == folders.filenames("diffusers") == []

    def test_other_kinds_list_the_files_in_such_a_folder(self, folders: Folders, models: Path) -> None:
        touch(models / "vae" / "model" / "model_index.json", models / "vae" / "model" / "a.safetensors")
        assert folders.filenames("vae") == ["model/a.safetensors"]

    def test_a_plain_folder_is_no_model(self, folders: Folders, models: Path) -> None:
        touch(models / "checkpoints" / "sub" / "a.safetensors")
        assert folders.find("checkpoints", "sub") is None


class TestBundled:
    def test_a_bundled_model_is_listed_and_found(self, folders: Folders, models: Path, tmp_path: Path) -> None:
        bundle_model("checkpoints", "mezzotint-emoji", tmp_path / "package")
        touch(models / "checkpoints" / "a.pt")
        assert folders.filenames("checkpoints") == ["a.pt", "mezzotint-emoji"]
        assert folders.require("checkpoints", "mezzotint-emoji") == tmp_path / "package"
        assert folders.filenames("loras") == []

    def test_a_model_of_the_users_own_goes_before_it(self, folders: Folders, models: Path, tmp_path: Path) -> None:
        bundle_model("checkpoints", "mezzotint-emoji", tmp_path / "package")
        touch(models / "checkpoints" / "mezzotint-emoji" / "model_index.json")
        assert folders.filenames("checkpoints") == ["mezzotint-emoji"]
        assert folders.find("checkpoints", "mezzotint-emoji") == models / "checkpoints" / "mezzotint-emoji"


class TestMissing:
    def test_a_missing_model_names_the_folders_the_near_miss_and_the_cure(self, folders: Folders, models: Path) -> None:
        touch(models / "loras" / "portrait.safetensors")
        with pytest.raises(MissingModelError) as caught:
            folders.require("loras", "potrait.safetensors")
        sentence = str(caught.value)
        assert "'potrait.safetensors' (loras) is missing" in sentence
        assert "did you mean 'portrait.safetensors'?" in sentence
        assert str(models / "loras") in sentence
        assert "--models-dir" in sentence

    def test_an_equal_extension_makes_names_no_more_alike(self, folders: Folders, models: Path) -> None:
        touch(models / "loras" / "html.safetensors")
        with pytest.raises(MissingModelError) as caught:
            folders.require("loras", "dreamshaper.safetensors")
        assert "did you mean" not in str(caught.value)

    def test_the_same_file_in_another_sub_folder_is_suggested(self, folders: Folders, models: Path) -> None:
        touch(models / "loras" / "styles" / "ink.pt")
        with pytest.raises(MissingModelError, match=r"did you mean 'styles/ink\.pt'"):
            folders.require("loras", "SDXL/ink.pt")

    def test_a_backslash_is_explained(self, folders: Folders) -> None:
        with pytest.raises(MissingModelError, match=r"backslash; folders are parted by '/': 'SDXL/ink\.pt'"):
            folders.require("loras", "SDXL\\ink.pt")

    @pytest.mark.parametrize("name", [*ESCAPES, "x" * 5000])
    def test_no_name_escapes_its_folder(self, folders: Folders, tmp_path: Path, name: str) -> None:
        touch(tmp_path / "models" / "x", tmp_path / "x")
        assert folders.find("classifiers", name) is None
        with pytest.raises(MissingModelError):
            folders.require("classifiers", name)


class TestPlaces:
    @pytest.fixture(autouse=True)
    def environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
        monkeypatch.delenv("MEZZOTINT_MODELS", raising=False)

    def test_everything_lies_below_the_home(self, tmp_path: Path) -> None:
        folders = Folders.default()
        home = tmp_path / "home"
        assert [folders.by_type(name) for name in ("input", "output", "temp")] == [
            home / "input",
            home / "output",
            home / "temp",
        ]
        assert folders.models == (home / "models",)
        assert folders.model_folders("custom_nodes") == (home / "custom_nodes",)
        assert not home.exists()

    def test_options_point_elsewhere(self, tmp_path: Path) -> None:
        folders = Folders.default(input_dir=tmp_path / "i", output_dir=tmp_path / "o", models_dir=tmp_path / "m")
        assert (folders.input, folders.output) == (tmp_path / "i", tmp_path / "o")
        assert folders.models == (tmp_path / "m",)

    def test_the_variable_names_several_models_folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one, two = tmp_path / "1", tmp_path / "2"
        monkeypatch.setenv("MEZZOTINT_MODELS", os.pathsep.join([str(one), "", str(two)]))
        assert Folders.default().models == (one, two, tmp_path / "home" / "models")
        assert Folders.default(models_dir=tmp_path / "m").models == (tmp_path / "m", one, two)

    def test_without_the_variable_the_home_is_the_users_data_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MEZZOTINT_HOME")
        assert default_home().name == "mezzotint"
        assert default_home().is_absolute()

    def test_a_tilde_is_the_users_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MEZZOTINT_HOME", "~/pictures")
        assert default_home() == Path.home() / "pictures"

    @pytest.mark.parametrize("place", ["home", "m", "."])
    def test_settings_are_found_in_the_home_and_at_the_models_folder(self, tmp_path: Path, place: str) -> None:
        touch(tmp_path / place / "extra_model_paths.yaml", tmp_path / place / "more" / "a.pt")
        (tmp_path / place / "extra_model_paths.yaml").write_text("mine:\n  loras: more\n")
        assert Folders.default(models_dir=tmp_path / "m").filenames("loras") == ["a.pt"]

    def test_settings_that_are_named_stand_for_those_that_are_found(self, tmp_path: Path) -> None:
        touch(tmp_path / "home" / "extra_model_paths.yaml", tmp_path / "a" / "a.pt", tmp_path / "b" / "b.pt")
        (tmp_path / "home" / "extra_model_paths.yaml").write_text("mine:\n  loras: ../a\n")
        (tmp_path / "named.yaml").write_text("mine:\n  loras: b\n")
        assert Folders.default().filenames("loras") == ["a.pt"]
        assert Folders.default(extra_model_paths=tmp_path / "named.yaml").filenames("loras") == ["b.pt"]

    def test_settings_that_are_named_and_missing_are_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(FolderError, match="cannot be read"):
            Folders.default(extra_model_paths=tmp_path / "nothing.yaml")


class TestExtraPaths:
    def write(self, tmp_path: Path, text: str) -> Path:
        file = tmp_path / "extra_model_paths.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    def folders(self, tmp_path: Path, text: str) -> Folders:
        return Folders(tmp_path / "home", models=[tmp_path / "models"], extra_paths=[self.write(tmp_path, text)])

    def test_kinds_take_several_folders_below_the_base(self, tmp_path: Path) -> None:
        base = tmp_path / "webui"
        text = (
            f"a111:\n  base_path: {base}/\n  checkpoints: models/Stable-diffusion\n"
            "  loras: |\n    models/Lora\n    models/LyCORIS\n\n  vae:\nempty:\n"
        )
        folders = self.folders(tmp_path, text)
        assert folders.model_folders("checkpoints") == (
            tmp_path / "models" / "checkpoints",
            base / "models" / "Stable-diffusion",
        )
        assert folders.model_folders("loras")[1:] == (base / "models" / "Lora", base / "models" / "LyCORIS")
        assert folders.model_folders("vae") == (tmp_path / "models" / "vae",)

    def test_a_relative_base_is_below_the_file(self, tmp_path: Path) -> None:
        folders = self.folders(tmp_path, "mine:\n  base_path: ../shared/\n  loras: loras/\n")
        assert folders.model_folders("loras")[-1] == tmp_path.parent / "shared" / "loras"

    def test_absolute_paths_and_variables_stand_for_themselves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DISK", str(tmp_path / "disk"))
        file = self.write(tmp_path, f"mine:\n  base_path: $DISK/sd\n  loras: {tmp_path}/l\n  vae: v\n")
        assert [extra.paths[0] for extra in read_extra_paths(file)] == [tmp_path / "l", tmp_path / "disk" / "sd" / "v"]

    def test_a_default_section_goes_first(self, tmp_path: Path) -> None:
        folders = self.folders(tmp_path, "mine:\n  base_path: x\n  is_default: true\n  loras: |\n    a\n    b\n")
        expected = (tmp_path / "x" / "a", tmp_path / "x" / "b", tmp_path / "models" / "loras")
        assert folders.model_folders("loras") == expected

    def test_a_folder_named_twice_is_searched_once(self, tmp_path: Path) -> None:
        folders = self.folders(tmp_path, "mine:\n  base_path: models\n  loras: loras\n  is_default: yes\n")
        assert folders.model_folders("loras") == (tmp_path / "models" / "loras",)

    def test_older_names_and_new_kinds_are_understood(self, tmp_path: Path) -> None:
        folders = self.folders(tmp_path, "mine:\n  unet: u\n  clip: c\n  insightface: i\n")
        touch(tmp_path / "i" / "a.bin", tmp_path / "i" / "b.onnx")
        assert folders.model_folders("diffusion_models")[-1] == tmp_path / "u"
        assert folders.model_folders("text_encoders")[-1] == tmp_path / "c"
        assert folders.filenames("insightface") == ["a.bin", "b.onnx"]

    @pytest.mark.parametrize("text", ["- a\n- b\n", "mine: 3\n", "mine:\n  loras: {a: b}\n", "mine:\n  loras: [1]\n"])
    def test_another_form_is_a_sentence(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(FolderError, match="is not understood"):
            self.folders(tmp_path, text)

    @pytest.mark.parametrize("text", ['mine:\n  base_path: "C:\\Users"\n', "a: [", "a: 2020-13-45\n", "\0"])
    def test_what_is_no_yaml_is_a_sentence(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(FolderError, match="is not YAML"):
            self.folders(tmp_path, text)

    def test_an_empty_file_says_nothing(self, tmp_path: Path) -> None:
        assert read_extra_paths(self.write(tmp_path, "# nothing\n")) == []


class TestInputFiles:
    @pytest.mark.parametrize(
        ("name", "folder", "plain"),
        [
            ("a.png", "input", "a.png"),
            ("a.png [temp]", "temp", "a.png"),
            ("sub/a [1].png [output]", "output", "sub/a [1].png"),
            ("a.png [input]", "input", "a.png"),
            ("a.png [other]", "input", "a.png [other]"),
        ],
    )
    def test_the_annotation_names_the_folder(self, folders: Folders, name: str, folder: str, plain: str) -> None:
        assert folders.resolve_annotated(name) == folders.home / folder / plain

    def test_another_folder_may_be_the_default(self, folders: Folders) -> None:
        assert folders.resolve_annotated("a.png", "output") == folders.output / "a.png"
        assert folders.resolve_annotated("a.png [input]", "output") == folders.input / "a.png"

    @pytest.mark.parametrize("name", [*ESCAPES, "../a.png [temp]", " [temp]"])
    def test_a_name_that_leaves_the_folder_is_refused(self, folders: Folders, name: str) -> None:
        with pytest.raises(FolderError, match="cannot be used"):
            folders.resolve_annotated(name)

    def test_a_file_that_must_be_there_is_a_sentence_when_it_is_not(self, folders: Folders) -> None:
        touch(folders.temp / "a.png")
        assert folders.require_file("a.png [temp]") == folders.temp / "a.png"
        with pytest.raises(FolderError, match=r"'a\.png' is not in the input folder .*--input-dir"):
            folders.require_file("a.png")
        with pytest.raises(FolderError, match="is not in the input folder"):
            folders.require_file("x" * 5000)

    def test_pictures_are_listed_with_those_in_sub_folders(self, folders: Folders) -> None:
        touch(folders.input / "b.PNG", folders.input / "sub" / "a.webp", folders.input / "notes.txt")
        touch(folders.output / "c.png")
        assert folders.images() == ["b.PNG", "sub/a.webp"]
        assert folders.images("output") == ["c.png"]

    def test_a_link_that_leads_out_is_neither_listed_nor_followed(self, folders: Folders, tmp_path: Path) -> None:
        touch(tmp_path / "secret.png", folders.input / "a.png")
        link(folders.input / "out.png", tmp_path / "secret.png")
        link(folders.input / "in.png", folders.input / "a.png")
        assert folders.images() == ["a.png", "in.png"]
        assert folders.require_file("in.png") == folders.input / "a.png"
        with pytest.raises(FolderError, match="leaves its folder"):
            folders.require_file("out.png")

    def test_an_unknown_folder_is_a_sentence(self, folders: Folders) -> None:
        with pytest.raises(FolderError, match="allowed are input, output, temp"):
            folders.by_type("models")


def test_a_file_that_is_no_folder_lists_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    assert ListedFolder(tmp_path / "file", None).names() == []
