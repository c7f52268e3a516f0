"""Reads workflows from where people keep them: JSON files of either format, pictures, model files, texts and dicts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from .errors import WorkflowError
from .ui_format import convert_ui, is_ui_document
from .workflow import Workflow
from .workflow_media import media_kind, read_media_texts

Definitions = Mapping[str, Mapping[str, Any]]

MAX_JSON_BYTES = 512 * 2**20

_SOURCES = "a JSON file, or a PNG, WebP, JPEG or safetensors file that carries a workflow"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def load_workflow(source: str | Path | Mapping[str, Any], definitions: Definitions) -> Workflow:
    """Read a workflow from a file, from JSON text (recognised by its opening brace), or from a parsed document.

    API format, an editor's document (converted by `convert_ui`, with `definitions` as there) and the body of a queue
    request (`{"prompt": ...}`) are told apart by their contents, and so are the kinds of files. Of a picture that
    carries both, the editor's document is taken; the graph as it was executed stands in when the document cannot be
    converted.

    Raises:
        WorkflowError: the source is missing, cannot be read, or is no workflow. What is wrong with single nodes of a
            converted document is in `problems` of the result instead.
    """
    if isinstance(source, Mapping):
        return read_document(source, definitions, "The document")
    if isinstance(source, str) and source.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        return read_document(parse_json(source, "The text"), definitions, "The text")
    return _read_path(Path(source), definitions)


def read_document(document: Any, definitions: Definitions, name: str) -> Workflow:
    """Read a parsed JSON document; `name` is what an error calls it.

    Raises:
        WorkflowError: it is no workflow in API format and no document of an editor.
    """
    if not isinstance(document, Mapping) or not document:
        raise WorkflowError(f"{name} is no workflow: a workflow is an object of nodes by id, {_EXAMPLE}.")
    if is_ui_document(document):
        return convert_ui(dict(document), definitions)
    if isinstance(document.get("prompt"), Mapping) and "class_type" not in document["prompt"]:
        return _read_request(document, definitions, name)
    if not any(isinstance(node, Mapping) and "class_type" in node for node in document.values()):
        keys = ", ".join(f"'{str(key)[:40]}'" for key in list(document)[:3])
        raise WorkflowError(
            f"{name} is no workflow: it has neither nodes by id, {_EXAMPLE}, nor an editor's list of nodes. "
            f"It begins with {keys}."
        )
    try:
        return Workflow.from_api(document)
    except WorkflowError as error:
        raise WorkflowError(f"{name} is no workflow in API format.\n{error}") from None


_EXAMPLE = 'as in {"3": {"class_type": "KSampler", "inputs": {...}}}'


def parse_json(text: str, name: str) -> Any:
    """Parse JSON as editors and scripts write it: NaN and repeated keys are taken, of the latter the last.

    Raises:
        WorkflowError: the text is no JSON; the sentence says at which line and column.
    """
    text = text.removeprefix("\ufeff")
    try:
        document = json.loads(text)
        return _without_lone_surrogates(document) if _ESCAPED_SURROGATE.search(text) else document
    except json.JSONDecodeError as error:
        raise WorkflowError(
            f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise WorkflowError(f"{name} is nested too deeply to be a workflow.") from None
    except ValueError as error:  # a number of thousands of digits
        raise WorkflowError(f"{name} is not valid JSON: {error}.") from None


def _without_lone_surrogates(document: Any) -> Any:
    # Half a character, cut by some program, could be neither hashed nor written later on.
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.loads(text.encode("utf-8", "replace"))
    return document


def _read_request(body: Mapping[str, Any], definitions: Definitions, name: str) -> Workflow:
    """The body of a queue request: the graph, and the editor's document that travels with it."""
    workflow = read_document(body["prompt"], definitions, name)
    extra = (body.get("extra_data") or {}).get("extra_pnginfo")
    extra = dict(extra) if isinstance(extra, Mapping) else {}
    ui = extra.pop("workflow", None)
    return workflow.model_copy(update={"ui": ui if isinstance(ui, dict) else workflow.ui, "extra": extra})


def read_file(file: IO[bytes], definitions: Definitions, name: str) -> Workflow:
    """Read a workflow from an open file that can seek; `name` is what an error calls it.

    Raises:
        WorkflowError: it is no workflow and carries none.
    """
    return _read_found(*_read_contents(file, name), definitions, name)


def _read_found(kind: str, found: str | dict[str, str], definitions: Definitions, name: str) -> Workflow:
    if isinstance(found, str):
        return read_document(parse_json(found, name), definitions, name)
    return _read_texts(found, definitions, name, kind)


def _read_contents(file: IO[bytes], name: str) -> tuple[str, str | dict[str, str]]:
    """What kind a file is of, and its JSON text or the texts it carries."""
    kind = media_kind(file.read(16))
    file.seek(0)
    if kind is None:
        return "JSON", _decode(file.read(MAX_JSON_BYTES + 1), name)
    return kind, _media_texts(file, kind, name)


def _read_path(path: Path, definitions: Definitions) -> Workflow:
    try:
        if path.is_dir():
            raise WorkflowError(f"{path} is a folder; name a file in it: {_SOURCES}.")
        if path.exists() and not path.is_file():
            raise WorkflowError(f"{path} is a device or a pipe; give {_SOURCES}.")
        with path.open("rb") as file:
            contents = _read_contents(file, str(path))
    except FileNotFoundError:
        raise WorkflowError(f"There is no file {path}; give {_SOURCES}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WorkflowError(f"{path} cannot be read: {reason}.") from None
    return _read_found(*contents, definitions, str(path))


def _media_texts(file: IO[bytes], kind: str, name: str) -> dict[str, str]:
    try:
        texts = read_media_texts(file, kind)
    except WorkflowError as error:
        raise WorkflowError(f"{name} cannot be read: {error}.") from None
    if texts is None:
        raise WorkflowError(f"{name} is {kind}, and no workflow is read from such a file; give {_SOURCES}.")
    return texts


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_JSON_BYTES:
        raise WorkflowError(f"{name} is larger than {MAX_JSON_BYTES:,} bytes, which no workflow is; give {_SOURCES}.")
    if not data.strip():
        raise WorkflowError(f"{name} is empty; give {_SOURCES}.")
    try:
        # UTF-8 as a rule; some shells write UTF-16 when redirecting.
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError:
        text = "\0"
    begin = text.lstrip("\ufeff \t\r\n")[:1]
    if "\0" in text or not (begin.isascii() and begin.isprintable()):
        raise WorkflowError(f"{name} is neither UTF-8 text nor a picture; give {_SOURCES}.")
    return text


def _read_texts(texts: Mapping[str, str], definitions: Definitions, name: str, kind: str) -> Workflow:
    """The workflow among a file's texts: the editor's document if it converts, else the graph as it was executed."""
    if "workflow" not in texts and "prompt" not in texts:
        hint = " It tells its settings in words only ('parameters')." if "parameters" in texts else ""
        raise WorkflowError(f"{name} carries no workflow: the {kind} has no text 'workflow' or 'prompt'.{hint}")
    inner = f"The workflow in {name}"
    if "workflow" not in texts:
        return _read_text(texts["prompt"], definitions, inner)
    try:
        workflow = _read_text(texts["workflow"], definitions, inner)
    except WorkflowError as error:
        if "prompt" not in texts:
            raise
        executed = _read_text(texts["prompt"], definitions, inner)
        return executed.model_copy(update={"warnings": [f"{error} The graph as it was executed is used instead."]})
    return _as_executed(workflow, texts.get("prompt"), definitions, inner) if workflow.problems else workflow


def _as_executed(workflow: Workflow, prompt: str | None, definitions: Definitions, name: str) -> Workflow:
    """The executed graph in place of a document that does not convert, provided that all its nodes are known."""
    try:
        executed = _read_text(prompt or "", definitions, name)
    except WorkflowError:
        return workflow
    if any(node.class_type not in definitions for node in executed.nodes.values()):
        return workflow
    warning = f"{workflow.problems[0]} The graph as it was executed is used instead of the editor's document."
    return executed.model_copy(update={"ui": workflow.ui, "warnings": [warning]})


def _read_text(text: str, definitions: Definitions, name: str) -> Workflow:
    return read_document(parse_json(text, name), definitions, name)
