// The workflow that is open: from a file, a template or a job; its texts and seeds; Run.

import { ask, clientId, get, post, ServerError, templates } from "./api.js";
import { element, note } from "./element.js";
import { fields, loadDefinitions, randomSeed } from "./prompt.js";

const form = document.getElementById("workflow");
const MAX_TEXT_ROWS = 8;

let open = null; // { name, prompt, workflow, extra }
let inputs = []; // [{ field, control, isDrawn }]

export async function showStart() {
  const picker = element("input", { type: "file", accept: ".json,.png,.webp,.jpg,.jpeg,.safetensors", hidden: true });
  picker.onchange = () => picker.files[0] && openFile(picker.files[0]);
  const choose = element("button", { type: "button", onclick: () => picker.click() }, "Choose a file");
  const start = element("div.start", {}, element("p", {}, "Drop a workflow or a picture here."), choose, picker);
  form.replaceChildren(start);
  try {
    const groups = await templates("index.json");
    const buttons = groups.flatMap((group) => group.templates).map(({ name, title, description }) =>
      element("button.quiet", { type: "button", title: description, onclick: () => openTemplate(name, title) }, title));
    start.append(element("p.or", {}, "Or begin with"), element("div.templates", {}, ...buttons));
  } catch (error) {
    note(error.message);
  }
}

async function openTemplate(name, title) {
  await attempt(async () => show(title, await convert(await templates(`${name}.json`))));
}

// A JSON file of either format, or a picture that carries a workflow.
export async function openFile(file) {
  await attempt(async () =>
    show(file.name, await ask("mezzotint/convert", { method: "POST", body: file, type: "application/octet-stream" })));
}

export async function openJob(job) {
  const { prompt, extra_data: { extra_pnginfo: { workflow = null, ...extra } = {} } = {} } = job.workflow;
  await attempt(async () => show("From a finished job", { prompt, workflow, extra }));
}

const convert = (document, values = []) => post("mezzotint/convert", { document, values });

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    note(error.message);
  }
}

async function show(name, found) {
  await loadDefinitions();
  open = { name, ...found };
  for (const warning of found.warnings ?? []) note(warning);
  inputs = fields(found.prompt).map(drawn);
  const close = element("button.quiet", { type: "button", onclick: showStart }, "Close");
  const run = element("button.primary", { type: "submit" }, "Run");
  form.replaceChildren(
    element("div.heading", {}, element("h3", { title: name }, name), close),
    ...inputs.map(({ shown }) => shown),
    element("div.actions", {}, run, element("span.hint", {}, "Ctrl + Enter")),
  );
  (inputs.find(({ field }) => field.kind === "text")?.control ?? run).focus();
}

function drawn(field) {
  return field.kind === "text" ? drawnText(field) : drawnSeed(field);
}

function drawnText(field) {
  const rows = Math.min(MAX_TEXT_ROWS, Math.max(2, Math.ceil(field.value.length / 40)));
  const control = element("textarea", { value: field.value, rows, spellcheck: false });
  return { field, control, shown: element("label.field", {}, element("span", {}, field.title), control) };
}

function drawnSeed(field) {
  const control = element("input", { type: "number", value: field.value, min: 0, max: field.max, step: 1, required: true });
  const isNew = element("input", { type: "checkbox" });
  isNew.onchange = () => (control.readOnly = isNew.checked);
  const label = element("label.field", {}, element("span", {}, `Seed (${field.title})`), control);
  const shown = element("div.seed", {}, label, element("label.check", {}, isNew, "New each time"));
  return { field, control, isNew, shown };
}

function value({ field, control, isNew }) {
  if (field.kind === "text") return control.value;
  if (isNew.checked) control.value = randomSeed(field.max);
  return Number(control.value);
}

async function run() {
  const values = inputs
    .map((input) => ({ node_id: input.field.nodeId, input: input.field.input, value: value(input), was: input.field.value }))
    .filter((change) => change.value !== change.was)
    .map(({ was, ...change }) => change);
  const { prompt, workflow } = values.length ? await convert(open.workflow ?? open.prompt, values) : open;
  const extra_pnginfo = { ...open.extra, ...(workflow ? { workflow } : {}) };
  await post("prompt", { prompt, client_id: clientId, extra_data: { extra_pnginfo, preview_method: "auto" } });
}

form.onsubmit = (event) => {
  event.preventDefault();
  attempt(run);
};
form.onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && open) form.requestSubmit();
};

// Files may be dropped anywhere, or pasted.
const drop = document.getElementById("drop");
let depth = 0;
const hasFile = (event) => event.dataTransfer?.types.includes("Files");
const cover = (change) => drop.classList.toggle("shown", (depth = Math.max(0, depth + change)) > 0);

addEventListener("dragenter", (event) => hasFile(event) && cover(1));
addEventListener("dragleave", (event) => hasFile(event) && cover(-1));
addEventListener("dragover", (event) => hasFile(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  cover(-depth);
  openFile(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => event.clipboardData?.files[0] && openFile(event.clipboardData.files[0]));
