// What a graph in API format says to people: its texts, its seeds, its title.

import { get } from "./api.js";

let definitions = null;

// The nodes' definitions, asked for once.
export async function loadDefinitions() {
  definitions ??= await get("object_info");
}

const SEEDS = new Set(["seed", "noise_seed"]);

// The inputs that people change from run to run: [{ nodeId, input, title, kind: "text" | "seed", value, max }].
export function fields(prompt) {
  return Object.entries(prompt).flatMap(([nodeId, node]) =>
    Object.entries(node.inputs ?? {}).flatMap(([input, value]) => {
      const spec = specOf(node.class_type, input);
      const kind = kindOf(spec, input, value);
      const title = node._meta?.title || definitions?.[node.class_type]?.display_name || node.class_type;
      return kind ? [{ nodeId, input, title, kind, value, max: spec[1]?.max }] : [];
    }),
  );
}

function specOf(classType, input) {
  const groups = definitions?.[classType]?.input ?? {};
  return groups.required?.[input] ?? groups.optional?.[input];
}

function kindOf(spec, input, value) {
  if (typeof value === "string" && spec?.[0] === "STRING" && spec[1]?.multiline) return "text";
  if (typeof value === "number" && spec?.[0] === "INT" && (SEEDS.has(input) || spec[1]?.control_after_generate)) return "seed";
  return null;
}

// A job in a few words: its first text, or its file name's beginning.
export function titleOf(prompt) {
  const texts = fields(prompt).filter(({ kind, value }) => kind === "text" && value.trim());
  const prefix = Object.values(prompt).map((node) => node.inputs?.filename_prefix).find((value) => typeof value === "string");
  return texts[0]?.value.trim() || prefix || `${Object.keys(prompt).length} nodes`;
}

export function nodeTitle(prompt, nodeId) {
  const node = prompt?.[nodeId];
  return node?._meta?.title || definitions?.[node?.class_type]?.display_name || node?.class_type || "";
}

// A seed of those that JavaScript holds exactly.
export const randomSeed = (max) => Math.floor(Math.random() * Math.min(max ?? 2 ** 50, 2 ** 50));
