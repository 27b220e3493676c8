// The head of the page: the server's state and its memory.
import {byId, element, redraw, setText} from "./dom.js";
import * as format from "./format.js";

const NAMES = {
  weights: "weights", states: "states", activations: "activations", optimizer: "optimizer",
  workspace: "workspace", requests: "requests", structured: "structured output", jobs: "jobs",
};

function stateOf(overview) {
  if (overview.draining) return ["busy", "Draining: no new requests"];
  if (overview.not_ready !== "") return ["bad", `Not ready: ${overview.not_ready}`];
  return ["good", "Ready"];
}

export function showState(kind, text) {
  const node = byId("state");
  node.className = `state ${kind}`;
  setText(node, text);
}

function showMemory(memory) {
  // Each purpose has a colour of its own.
  const used = Object.keys(NAMES).map((name, index) => [name, memory.purposes[name] ?? 0, index])
                   .filter(([, bytes]) => bytes > 0);
  const free = Math.max(0, memory.limit - memory.used);
  const bar = () => {
    const parts = used.map(([name, bytes, index]) => {
      const part = element("i", {class: `part p${index}`});
      part.style.flexGrow = bytes;
      part.title = `${NAMES[name]}: ${format.bytes(bytes)}`;
      return part;
    });
    const rest = element("i", {class: "part free"});
    rest.style.flexGrow = free;
    return element("div", {class: "stack", "aria-hidden": "true"}, ...parts, rest);
  };
  const legend = () => element(
      "ul", {class: "legend"},
      element("li", {class: "total"},
              `Memory ${format.bytes(memory.used)} of ${format.bytes(memory.limit)}`),
      ...used.map(([name, bytes, index]) => element(
          "li", {}, element("i", {class: `key p${index}`, "aria-hidden": "true"}),
          `${NAMES[name]} ${format.bytes(bytes)}`)));
  redraw(byId("memory"), memory, bar, legend);
}

export function showOverview(overview) {
  showState(...stateOf(overview));
  setText(byId("server"),
          `version ${overview.version} · up ${format.duration(overview.uptime_seconds)} · ` +
          `${format.plural(overview.threads, "thread")} · ${overview.isa}`);
  showMemory(overview.memory);
}
