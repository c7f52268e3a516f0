// The queue: what runs, with its progress and preview, and what waits, with what can be done about it.

import { ask, get, post } from "./api.js";
import { element, icon, iconButton, note, reconcile } from "./element.js";
import { loadDefinitions, nodeTitle, titleOf } from "./prompt.js";

const running = document.getElementById("running"), pending = document.getElementById("pending");
const pause = document.getElementById("pause"), state = document.getElementById("state");
const ASK_MS = 1000; // how often the progress of another client's job is asked for

let prompts = new Map(); // job id → graph
let isConnected = false, isPaused = false, waiting = 0;
const cards = new Map(); // id of a running job → what tells of it
const heard = new Map(); // id of a running job → when the websocket last told of it

export async function refreshQueue() {
  const [queue, { paused }] = await Promise.all([get("queue"), get("queue/state"), loadDefinitions()]);
  const jobs = queue.queue_pending.sort((a, b) => a[0] - b[0]);
  prompts = new Map([...queue.queue_running, ...jobs].map((item) => [item[1], item[2]]));
  const runningIds = queue.queue_running.map((item) => item[1]), ids = jobs.map((item) => item[1]);
  reconcile(running, runningIds, runningCard);
  reconcile(pending, ids, pendingRow);
  for (const id of cards.keys()) if (!runningIds.includes(id)) forget(id);
  [isPaused, waiting] = [paused, ids.length];
  tell();
}

export function tellConnection(is) {
  isConnected = is;
  tell();
}

function tell() {
  const waits = waiting ? `, ${waiting} waiting` : "";
  const words = cards.size ? `Running${waits}` : isPaused ? `Paused${waits}` : waiting ? `${waiting} waiting` : "Idle";
  state.textContent = isConnected ? words : "Not connected. Trying again …";
  state.dataset.state = !isConnected ? "off" : cards.size ? "running" : isPaused ? "paused" : "idle";
  pause.replaceChildren(icon(isPaused ? "resume" : "pause"), isPaused ? "Resume" : "Pause");
  pause.setAttribute("aria-pressed", isPaused);
  if (!cards.size && !waiting) running.dataset.empty = isPaused ? "The queue is paused." : "Nothing runs.";
}

const act = async (work) => {
  try {
    await work();
    await refreshQueue();
  } catch (error) {
    note(error.message);
  }
};

pause.onclick = () => act(() => post(isPaused ? "queue/resume" : "queue/pause"));

function runningCard(id) {
  const title = titleOf(prompts.get(id));
  const preview = element("div.preview", {}, element("span.wait", {}));
  const bar = element("progress", { max: 1, ariaLabel: `Progress of ${title}` });
  const step = element("span.step", {}, "Starting");
  const cancel = iconButton("close", `Cancel ${title}`, () => act(() => post(`jobs/${id}/cancel`)));
  cards.set(id, { preview, bar, step, address: null, prompt: prompts.get(id) });
  const facts = element("div.facts", {}, element("p.title", { title }, title), bar, step);
  return element("div.running", {}, preview, facts, cancel);
}

function pendingRow(id) {
  const title = titleOf(prompts.get(id));
  return element("li", {},
    element("span.title", { title }, title),
    iconButton("up", `Move ${title} up`, () => moveUp(id)),
    iconButton("close", `Cancel ${title}`, () => act(() => post(`jobs/${id}/cancel`))));
}

function moveUp(id) {
  const before = pending.querySelector(`[data-key="${CSS.escape(id)}"]`)?.previousElementSibling;
  act(() => post(`jobs/${id}/move`, before ? { before: before.dataset.key } : { to: "front" }));
}

function forget(id) {
  URL.revokeObjectURL(cards.get(id).address);
  cards.delete(id);
  heard.delete(id);
}

// { node id → { value, max, state } } as the websocket and the job's own report tell it.
export function showProgress(id, nodes) {
  const card = cards.get(id);
  if (!card) return;
  heard.set(id, Date.now());
  const now = Object.entries(nodes).filter(([, node]) => node.state === "running").pop();
  if (!now) return;
  const [nodeId, { value, max, display_node_id: shownId }] = now;
  card.bar.max = max || 1;
  // A node that tells no steps shows that it is busy, not how far it is.
  if (max > 1) card.bar.value = value;
  else card.bar.removeAttribute("value");
  const name = nodeTitle(card.prompt, shownId ?? nodeId);
  card.step.textContent = max > 1 ? `${name}, step ${value} of ${max}` : name;
}

export function showPreview(id, blob) {
  const card = cards.get(id);
  if (!card) return;
  const old = card.address;
  card.address = URL.createObjectURL(blob);
  const picture = element("img", { src: card.address, alt: "What the sampler has so far" });
  card.preview.replaceChildren(picture);
  picture.onload = () => URL.revokeObjectURL(old);
}

// The websocket tells of this tab's jobs alone; how far others' are is asked for.
setInterval(async () => {
  for (const id of cards.keys()) {
    if (document.hidden || Date.now() - (heard.get(id) ?? 0) < 2 * ASK_MS) continue;
    const job = await ask(`jobs/${id}`).catch(() => null);
    if (job?.progress) showProgress(id, job.progress.nodes);
  }
}, ASK_MS);
