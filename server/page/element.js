// Builds elements: element("button.quiet", { type: "button", onclick }, "Text", child).

export function element(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

// A button that shows an icon alone; its name is what it does and to what.
export function iconButton(name, label, onclick) {
  return element("button.icon-button", { type: "button", title: label, ariaLabel: label, onclick }, icon(name));
}

// Makes the children of a list those of these keys, in order. What is there stays as it is, focus and pictures too.
export function reconcile(list, keys, make) {
  const there = new Map([...list.children].map((child) => [child.dataset.key, child]));
  keys.forEach((key, index) => {
    let child = there.get(key);
    if (!child) {
      child = make(key);
      child.dataset.key = key;
    }
    there.delete(key);
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  });
  for (const child of there.values()) child.remove();
}

const notes = document.getElementById("notes");

// Tells something that went wrong, until it is read or a while has passed.
export function note(text) {
  const shown = element("p.note", {}, text, iconButton("close", "Close", () => shown.remove()));
  notes.append(shown);
  setTimeout(() => shown.remove(), 12000);
}
