// The table of models.
import {byId, element, keep, setText} from "./dom.js";
import * as format from "./format.js";

// Tokens per second by model, from two replies.
class Rates {
  constructor() {
    this.before = new Map();
  }

  // Returns null if it is not known yet.
  of(model, now) {
    const before = this.before.get(model.name);
    if (before && now - before.time < 500) return before.rate;
    const known = before && model.generated_tokens >= before.tokens;
    const rate = known ? 1000 * (model.generated_tokens - before.tokens) / (now - before.time)
                       : null;
    this.before.set(model.name, {tokens: model.generated_tokens, time: now, rate});
    return rate;
  }
}

const rates = new Rates();
const COLUMNS = ["Model", "State", "Weights", "Memory", "Running", "Waiting", "Tokens/s"];

function table() {
  return element(
      "table", {class: "models"},
      element("thead", {}, element("tr", {}, ...COLUMNS.map((name, index) => element(
                                                 "th", {scope: "col", class: index > 2 ? "n" : ""},
                                                 name)))),
      element("tbody"));
}

function empty() {
  return element(
      "p", {class: "empty"}, "No model is loaded. Start the server with a model, or load one: ",
      element("code", {}, "whipsnake models load PATH"));
}

function makeRow() {
  const cells = COLUMNS.slice(1).map(
      (name, index) => element("td", {class: index > 1 ? "n" : "", "data-label": name}));
  return element(
      "tr", {},
      element("th", {scope: "row"}, element("b"), element("small")),
      ...cells);
}

// What leads to the model, and what it is.
function notes(model) {
  const parts = [];
  if (model.serves) parts.push("serves");
  if (model.aliases.length > 0) parts.push(`also ${model.aliases.join(", ")}`);
  if (model.source_job) parts.push(`from job ${model.source_job}`);
  if (model.architecture) parts.push(model.architecture);
  if (model.parameters) parts.push(`${format.parameters(model.parameters)} parameters`);
  return parts.join(" · ");
}

function updateRow(row, model) {
  const [name, state, weights, memory, running, waiting, rate] = row.children;
  setText(name.children[0], model.name);
  setText(name.children[1], model.error ? `${notes(model)} ${model.error}` : notes(model));
  setText(state, model.state);
  state.className = `model-${model.state}`;
  setText(weights, model.scheme ?? "–");
  setText(memory, model.bytes === undefined ? "–" : format.bytes(model.bytes));
  const ready = model.running !== undefined;
  setText(running, ready ? format.count(model.running) : "–");
  setText(waiting, ready ? format.count(model.waiting) : "–");
  const tokens = ready ? rates.of(model, performance.now()) : null;
  setText(rate, tokens === null ? "–" : format.number(tokens));
}

export function showModels(models) {
  const body = byId("models-body");
  const wanted = models.length === 0 ? "empty" : "table";
  if (body.dataset.shows !== wanted) {
    body.dataset.shows = wanted;
    body.replaceChildren(wanted === "empty" ? empty() : table());
  }
  if (wanted === "empty") return;
  keep(body.querySelector("tbody"), models, (model) => model.name, makeRow, updateRow);
}
