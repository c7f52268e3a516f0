// Talks to the server: requests, and the addresses of pictures.

// The page is at / or at /mezzotint/, where the editor is at /.
export const isBesideEditor = location.pathname.endsWith("/mezzotint/");
const API = new URL(isBesideEditor ? "../api/" : "api/", location.href.replace(/[?#].*/, ""));

// This tab's name at the server. A reload keeps it, so that its jobs go on telling it what happens.
export const clientId = sessionStorage.getItem("mezzotint.client") ?? crypto.randomUUID?.() ?? `page-${Math.random()}`;
sessionStorage.setItem("mezzotint.client", clientId);

export class ServerError extends Error {}

export async function ask(path, { method = "GET", body, type } = {}) {
  const isPlain = body !== undefined && type === undefined;
  let response;
  try {
    response = await fetch(new URL(path, API), {
      method,
      cache: "no-store",
      body: isPlain ? JSON.stringify(body) : body,
      headers: body === undefined ? {} : { "Content-Type": type ?? "application/json" },
    });
  } catch {
    throw new ServerError("The server does not answer.");
  }
  const text = await response.text();
  const isJson = (response.headers.get("Content-Type") ?? "").includes("json");
  const answer = isJson && text ? JSON.parse(text) : text;
  if (!response.ok) throw new ServerError(sentence(answer) || `The server answered ${response.status}.`);
  return answer;
}

export const get = (path) => ask(path);
export const post = (path, body = {}) => ask(path, { method: "POST", body });

// What an error's body says: a plain text, {"error": text}, or the answer to an invalid prompt with all its problems.
function sentence(answer) {
  if (typeof answer === "string") return answer;
  if (typeof answer?.error === "string") return answer.error;
  const problems = Object.entries(answer?.node_errors ?? {}).flatMap(([id, node]) =>
    node.errors.map((error) => `Node ${id} (${node.class_type}): ${error.message}`),
  );
  return [...new Set(problems)].join("\n") || answer?.error?.message || "";
}

export function viewAddress(file, preview) {
  const { filename, subfolder = "", type = "output" } = file;
  const query = new URLSearchParams({ filename, subfolder, type, ...(preview ? { preview } : {}) });
  return new URL(`view?${query}`, API).href;
}

export function socketAddress(after) {
  const address = new URL(`ws?${new URLSearchParams({ clientId, ...(after ? { after } : {}) })}`, API);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  return address;
}

// Beside the API, not below it.
export const templates = (name) => ask(`../templates/${name}`);
