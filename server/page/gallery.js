// What became of jobs: pictures, texts, errors; one large, with the prompt and seed that made it.

import { ask, get, post, viewAddress } from "./api.js";
import { element, icon, iconButton, note, reconcile } from "./element.js";
import { fields, loadDefinitions } from "./prompt.js";
import { openJob } from "./workflow.js";

const list = document.getElementById("finished"), more = document.getElementById("more");
const dialog = document.getElementById("picture");
const PAGE = 48, PREVIEW = "webp;85";

let shownCount = PAGE;
let jobs = new Map(); // id → job, newest first
let open = null; // { job, files, index }

export async function refreshGallery() {
  const { jobs: found, pagination } = await get(`jobs?status=completed,failed,cancelled&limit=${shownCount}&offset=0`);
  jobs = new Map(found.map((job) => [job.id, job]));
  reconcile(list, [...jobs.keys()], card);
  more.hidden = !pagination.has_more;
}

more.onclick = async () => {
  shownCount += PAGE;
  await refreshGallery();
};

function card(id) {
  const job = jobs.get(id);
  const button = element("button.card", { type: "button", onclick: () => openCard(id) }, ...contents(job));
  button.classList.add(job.status);
  return element("li", {}, button);
}

function contents(job) {
  const shown = job.preview_output;
  if (job.status === "failed") return [label("Failed"), element("span.text", {}, job.execution_error?.exception_message ?? "")];
  if (shown?.content !== undefined) return [element("span.text", {}, shown.content)];
  if (isPicture(shown)) {
    const count = job.outputs_count > 1 ? [element("span.count", {}, String(job.outputs_count))] : [];
    return [element("img", { src: viewAddress(shown, PREVIEW), alt: shown.filename, loading: "lazy" }), ...count];
  }
  return [label(job.status === "cancelled" ? "Cancelled" : "Done"), element("span.text", {}, shown?.filename ?? "")];
}

const label = (text) => element("span.label", {}, text);
const isPicture = (file) => /\.(png|jpe?g|webp|gif|avif)$/i.test(file?.filename ?? "");

async function openCard(id) {
  try {
    const [job] = await Promise.all([get(`jobs/${id}`), loadDefinitions()]);
    open = { job, files: filesOf(job), index: 0 };
    draw();
    if (!dialog.open) dialog.showModal();
  } catch (error) {
    note(error.message);
  }
}

// The pictures that a job saved; those of previews when it saved none.
function filesOf(job) {
  const files = Object.values(job.outputs ?? {}).flatMap((output) => output.images ?? []).filter(isPicture);
  const saved = files.filter(({ type }) => type === "output");
  return saved.length ? saved : files;
}

function draw() {
  const { job, files, index } = open, file = files[index];
  const picture = file
    ? element("img", { src: viewAddress(file), alt: file.filename })
    : element("pre", {}, job.execution_error?.exception_message ?? textOf(job) ?? "No picture.");
  const counted = files.length > 1 ? ` (${index + 1} of ${files.length})` : "";
  dialog.replaceChildren(
    element("div.large", {}, picture),
    element("div.about", {},
      element("div.heading", {}, element("h2", {}, (file?.filename ?? words(job)) + counted), iconButton("close", "Close", () => dialog.close())),
      facts(job),
      element("div.actions", {},
        button("again", "Run again", () => again(job)),
        button(null, "Use this workflow", () => use(job)),
        file && element("a.button", { href: viewAddress(file), download: file.filename }, icon("save"), "Download"),
        button("bin", "Forget", () => remove(job))),
      element("div.steps", {}, iconButton("back", "Newer", () => step(-1)), iconButton("on", "Older", () => step(1)))),
  );
}

const button = (symbol, text, onclick) =>
  element("button", { type: "button", onclick }, symbol && icon(symbol), text);

const words = (job) => ({ completed: "Done", failed: "Failed", cancelled: "Cancelled" })[job.status];

function facts(job) {
  const told = fields(job.workflow.prompt).filter(({ value }) => value !== "").map(({ title, kind, value }) =>
    [kind === "seed" ? `Seed (${title})` : title, String(value)]);
  const seconds = (job.execution_end_time - job.execution_start_time) / 1000;
  if (seconds >= 0) told.push(["Took", `${seconds.toFixed(1)} s`]);
  told.push(["Queued", new Date(job.create_time).toLocaleString()]);
  return element("dl", {}, ...told.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function textOf(job) {
  const texts = Object.values(job.outputs ?? {}).flatMap((output) => output.text ?? []);
  return texts.length ? texts.join("\n") : null;
}

async function attempt(work) {
  try {
    await work();
    dialog.close();
  } catch (error) {
    note(error.message);
  }
}

const again = (job) => attempt(() => post(`jobs/${job.id}/retry`));
const use = (job) => attempt(() => openJob(job));
const remove = (job) => attempt(() => ask(`jobs/${job.id}`, { method: "DELETE" }).then(refreshGallery));

// On to the next picture of the job, then to the next job.
function step(by) {
  const index = open.index + by;
  if (open.files[index]) {
    open.index = index;
    draw();
    return;
  }
  const ids = [...jobs.keys()], next = ids[ids.indexOf(open.job.id) + by];
  if (next) openCard(next);
}

dialog.onkeydown = ({ key }) => {
  if (key === "ArrowRight") step(1);
  if (key === "ArrowLeft") step(-1);
};
dialog.onclick = (event) => event.target === dialog && dialog.close();
