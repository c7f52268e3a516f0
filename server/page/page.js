// Puts the page together: what the websocket tells goes to the queue and the gallery.

import { isBesideEditor } from "./api.js";
import { note } from "./element.js";
import { refreshGallery } from "./gallery.js";
import { refreshQueue, showPreview, showProgress, tellConnection } from "./queue.js";
import { connect } from "./socket.js";
import { showStart } from "./workflow.js";

const REFRESH_MS = 150; // what changes within such a time is asked for once
const LOOK_MS = 4000; // how often is asked for what nobody tells: that somebody else paused the queue or moved a job

let timer = null, isAgain = false;

async function refresh() {
  if (timer) {
    isAgain = true;
    return;
  }
  timer = setTimeout(refreshNow, REFRESH_MS);
}

async function refreshNow() {
  isAgain = false;
  try {
    await Promise.all([refreshQueue(), refreshGallery()]);
  } catch (error) {
    note(error.message);
  }
  timer = null;
  if (isAgain) refresh();
}

document.getElementById("editor").hidden = !isBesideEditor;
showStart();
refreshNow();
setInterval(() => document.hidden || refreshQueue().catch(() => {}), LOOK_MS);
connect({
  tell: tellConnection,
  show: showPreview,
  hear(type, data) {
    if (type === "status") refresh();
    else if (type === "progress_state") showProgress(data.prompt_id, data.nodes);
  },
});
