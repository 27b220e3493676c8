// The view of one job: how far it is, its curves, its layers and what happened.
import {get, Poller, ServerError} from "./api.js";
import {Chart} from "./chart.js";
import {byId, element, keep, redraw, setText} from "./dom.js";
import * as format from "./format.js";
import {activity, fractionOf, hasEnded, KINDS} from "./jobs.js";
import {LayerMap} from "./layer_map.js";

const MOST_EVENTS = 200;
const COLUMN_KEYS = ["step", "loss", "low", "high", "learning_rate", "bytes", "active"];

// The parts of a history that have come, put together.
class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.uid = "";
    this.width = 0;
    this.layers = 0;
    this.lastEvent = 0;
    this.columns = Object.fromEntries(COLUMN_KEYS.map((key) => [key, []]));
    this.evaluations = [];
    this.events = [];
  }

  // What the server needs to know to send only what is new.
  mark() {
    return {uid: this.uid, width: this.width, column: Math.max(this.columns.step.length - 1, 0),
            event: this.lastEvent};
  }

  // Returns the first column that has changed.
  add(reply) {
    if (reply.uid !== this.uid) this.clear();
    this.uid = reply.uid;
    this.width = reply.width;
    this.layers = reply.layers;
    for (const key of COLUMN_KEYS) {
      this.columns[key].splice(reply.column, Infinity, ...reply.columns[key]);
    }
    this.evaluations.push(...reply.evaluations);
    this.events = [...this.events, ...reply.events].slice(-MOST_EVENTS);
    this.lastEvent = Math.max(this.lastEvent, reply.last_event);
    return reply.column;
  }
}

function figures(job) {
  const progress = job.progress ?? {};
  const list = [];
  if (progress.loss !== undefined) {
    list.push(["Loss", format.number(progress.loss),
               progress.eval_loss === undefined ? "of the last step"
                                                : `evaluation ${format.number(progress.eval_loss)}`]);
  }
  if (progress.steps) {
    list.push(["Step", format.count(progress.step), `of ${format.count(progress.steps)}`]);
  }
  if (progress.tokens_per_second !== undefined) {
    list.push(["Speed", `${format.number(progress.tokens_per_second)}`, "tokens/s"]);
  }
  if (progress.remaining_seconds !== undefined && !hasEnded(job)) {
    list.push(["Left", format.duration(progress.remaining_seconds), "until the end of training"]);
  }
  if (progress.layers) {
    list.push(["Active layers", format.count(progress.active_layers),
               `of ${format.count(progress.layers)}`]);
  }
  if (job.bytes > 0) {
    const now = (progress.heap_bytes ?? 0) + (progress.moment_bytes ?? 0);
    list.push(["Memory", format.bytes(job.bytes),
               now > 0 ? `reserved; activations and moments ${format.bytes(now)}` : "reserved"]);
  }
  if (progress.checkpoint_step) {
    list.push(["Checkpoint", format.count(progress.checkpoint_step), "the latest step saved"]);
  }
  return list;
}

// An object as names and values; lists and objects inside are written as JSON.
function facts(title, object) {
  const entries = Object.entries(object).filter(([, value]) => value !== null && value !== "");
  return element(
      "details", {}, element("summary", {}, title),
      element("dl", {class: "settings"},
              ...entries.map(([name, value]) => element(
                  "div", {}, element("dt", {}, name.replaceAll("_", " ")),
                  element("dd", {}, valueText(name, value))))));
}

function valueText(name, value) {
  if (name.endsWith("bytes") && typeof value === "number") return format.bytes(value);
  if (name.endsWith("seconds") && typeof value === "number") return format.duration(value);
  if (typeof value === "number") return format.number(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function advice(job) {
  const name = job.kind === "fine-tuning" ? "finetune" : "quantizations";
  if (job.state === "failed" && job.kind === "fine-tuning") {
    return job.settings ? `whipsnake ${name} resume ${job.id}`
                        : "whipsnake finetune create …  with other settings";
  }
  if (job.state === "paused") return `whipsnake ${name} resume ${job.id}`;
  if (job.state === "succeeded" && job.kind === "fine-tuning") {
    return `whipsnake ${name} promote ${job.id} --model NAME`;
  }
  return "";
}

function eventText(event) {
  if (event.type === "state") {
    return event.reason ? `${event.state}: ${event.reason}` : String(event.state);
  }
  if (event.type === "message") return String(event.text);
  if (event.type === "checkpoint") {
    return `checkpoint of step ${format.count(event.step)}, ${format.bytes(event.size_bytes ?? 0)}`;
  }
  const {id, type, level, time, ...rest} = event;
  return `${type} ${JSON.stringify(rest)}`;
}

export class JobView {
  // `onConnection` is as for Poller.
  constructor(kind, id, onConnection) {
    this.kind = kind;
    this.id = id;
    this.history = new History();
    this.build();
    this.poller = new Poller(() => this.poll(), onConnection);
    this.poller.now();
  }

  close() {
    this.poller.stop();
    byId("job").hidden = true;
    byId("job").replaceChildren();
  }

  build() {
    this.state = element("span", {class: "tag"});
    this.what = element("p", {class: "soft"});
    this.bar = element("progress", {max: 1, value: 0, "aria-label": `Progress of ${this.id}`});
    this.error = element("p", {class: "warning", role: "alert", hidden: true});
    this.advice = element("p", {class: "note", hidden: true}, "Next: ", element("code"));
    this.figures = element("dl", {class: "figures"});
    this.loss = new Chart("Loss");
    this.memory = new Chart("Memory", {unit: "activations and moments", label: format.bytes, from: 0,
                                    scale: format.byteUnit});
    this.rate = new Chart("Learning rate", {from: 0});
    this.map = new LayerMap();
    this.map.node.hidden = true;
    this.charts = element("div", {class: "charts", hidden: true}, this.loss.node, this.memory.node,
                          this.rate.node);
    this.events = element("ol", {class: "events", role: "log", "aria-label": "Events", tabindex: 0});
    this.facts = element("div", {class: "facts"});
    const section = byId("job");
    section.replaceChildren(
        element("div", {class: "line title"},
                element("h2", {id: "job-title", tabindex: -1}, `${KINDS[this.kind] ?? this.kind} ${this.id}`),
                this.state, element("a", {href: "#", class: "close"}, "Close")),
        this.what, this.bar, this.error, this.advice, this.figures, this.charts, this.map.node,
        element("h3", {}, "Events"), this.events, this.facts);
    section.hidden = false;
    byId("job-title").focus();
  }

  async poll() {
    const name = {kind: this.kind, id: this.id};
    try {
      const [job, history] = await Promise.all(
          [get("job", name), get("history", {...name, ...this.history.mark()})]);
      this.showJob(job);
      this.showHistory(job, history);
      if (history.more) return 100;
      return hasEnded(job) ? 10000 : undefined;
    } catch (error) {
      if (error instanceof ServerError) this.showError(error.message);
      throw error;
    }
  }

  showError(text) {
    setText(this.error, text);
    this.error.hidden = text === "";
  }

  showJob(job) {
    setText(this.state, job.state);
    this.state.className = `tag ${job.state}`;
    const times = [`made ${format.time(job.create_time)}`];
    if (job.start_time) times.push(`started ${format.time(job.start_time)}`);
    if (job.end_time) times.push(`ended ${format.time(job.end_time)}`);
    if (job.attempt > 1) times.push(`attempt ${job.attempt}`);
    const labels = Object.entries(job.labels).map(([key, value]) => `${key}=${value}`);
    const does = job.state === "failed" ? "" : activity(job);
    setText(this.what, [`of ${job.model}`, does, ...times, ...labels].filter((part) => part).join(" · "));
    this.bar.value = fractionOf(job);
    this.bar.className = job.state;
    this.showError(job.error ? `${job.error.field ? `${job.error.field}: ` : ""}${job.error.message}` : "");
    const next = advice(job);
    this.advice.hidden = next === "";
    setText(this.advice.lastChild, next);
    const list = figures(job);
    this.figures.hidden = list.length === 0;
    redraw(this.figures, list, ...list.map(([name, value, note]) => () => element(
        "div", {}, element("dt", {}, name),
        element("dd", {}, value, element("small", {}, note)))));
    this.showFacts(job);
  }

  showFacts(job) {
    const parts = [["Plan", job.plan], ["Settings", job.settings], ["Request", job.request],
                   ["Result", job.result]].filter(([, object]) => object);
    const state = parts.map(([title, object]) => [title, object]);
    redraw(this.facts, state, ...parts.map(([title, object]) => () => facts(title, object)));
  }

  showHistory(job, reply) {
    const changed = this.history.add(reply);
    const {columns, evaluations, width, layers} = this.history;
    const steps = Math.max(job.progress?.steps ?? 0, columns.step.at(-1) ?? 0);
    const any = columns.step.length > 0 || evaluations.length > 0;
    this.charts.hidden = !any;
    if (any) {
      const band = width > 1 ? {low: columns.low, high: columns.high} : {};
      const evaluation = {name: "evaluation", style: "points",
                          steps: evaluations.map((record) => record.step),
                          values: evaluations.map((record) => record.loss ?? null)};
      this.loss.draw([{name: width > 1 ? `training, mean of ${format.count(width)} steps` : "training",
                       style: "curve", steps: columns.step, values: columns.loss, ...band},
                      evaluation], steps);
      this.memory.draw([{name: "", style: "curve", steps: columns.step, values: columns.bytes}], steps);
      this.rate.draw([{name: "", style: "curve", steps: columns.step,
                       values: columns.learning_rate}], steps);
    }
    this.map.draw(columns.active, layers, width, Math.ceil(steps / Math.max(width, 1)), changed);
    this.showEvents();
  }

  showEvents() {
    const make = () => element("li", {}, element("time"), element("span"));
    const update = (item, event) => {
      item.className = event.level;
      setText(item.children[0], format.time(event.time));
      setText(item.children[1], eventText(event));
    };
    keep(this.events, [...this.history.events].reverse(), (event) => event.id, make, update);
  }
}
