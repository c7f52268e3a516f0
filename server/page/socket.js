// The websocket: comes back by itself and asks for what it missed.

import { socketAddress } from "./api.js";

const FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 10000;
const PREVIEW_WITH_METADATA = 4;

// hear(type, data) is called for each message, show(jobId, blob) for each preview, tell(isConnected) for changes.
export function connect({ hear, show, tell }) {
  let wait = FIRST_WAIT_MS, last = 0;

  function open() {
    const socket = new WebSocket(socketAddress(last));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      wait = FIRST_WAIT_MS;
      socket.send(JSON.stringify({ type: "feature_flags", data: { supports_preview_metadata: true } }));
      tell(true);
    };
    socket.onmessage = ({ data }) => (typeof data === "string" ? take(JSON.parse(data)) : preview(data));
    socket.onclose = () => {
      tell(false);
      setTimeout(open, wait);
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    };
  }

  function take({ type, data, sequence }) {
    if (sequence) last = sequence;
    hear(type, data);
  }

  // Two numbers, the event and the length of a JSON text, that text, the picture.
  function preview(buffer) {
    const view = new DataView(buffer);
    if (view.getUint32(0) !== PREVIEW_WITH_METADATA) return;
    const end = 8 + view.getUint32(4);
    const metadata = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, end - 8)));
    show(metadata.prompt_id, new Blob([new Uint8Array(buffer, end)], { type: metadata.image_type }));
  }

  open();
}
