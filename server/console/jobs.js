// The list of jobs, those that have not ended first.
import {byId, element, keep, setText} from "./dom.js";
import * as format from "./format.js";

export const KINDS = {"fine-tuning": "Fine-tuning", quantization: "Quantization"};
const ENDED = new Set(["succeeded", "failed", "cancelled"]);

export function hasEnded(job) {
  return ENDED.has(job.state);
}

// Of the whole job if its steps are known, otherwise of what it does now.
export function fractionOf(job) {
  if (job.state === "succeeded") return 1;
  const {step, steps} = job.progress ?? {};
  return steps ? step / steps : job.fraction;
}

// What the job does, or why it does nothing.
export function activity(job) {
  const progress = job.progress ?? {};
  if (job.state === "queued") {
    const parts = job.position > 0 ? [`position ${job.position}`] : [];
    if (job.waits_for) parts.push(`waits for ${job.waits_for}`);
    if (job.next_attempt_time) parts.push(`next attempt at ${format.time(job.next_attempt_time)}`);
    return parts.join(", ");
  }
  if (job.state === "failed") return job.error?.message ?? job.reason;
  if (job.state === "cancelled" || job.state === "paused") return job.reason;
  if (job.state === "succeeded") {
    return job.start_time && job.end_time
        ? `took ${format.duration(job.end_time - job.start_time)}` : "";
  }
  const parts = [job.stage];
  if (progress.steps) {
    parts.push(`step ${format.count(progress.step)} of ${format.count(progress.steps)}`);
  }
  if (job.state === "running" && progress.remaining_seconds !== undefined) {
    parts.push(`${format.duration(progress.remaining_seconds)} left`);
  }
  return parts.filter((part) => part).join(" · ");
}

function lossText(job) {
  const progress = job.progress ?? {};
  const parts = [];
  if (progress.loss !== undefined) parts.push(`loss ${format.number(progress.loss)}`);
  if (progress.eval_loss !== undefined) parts.push(`evaluation ${format.number(progress.eval_loss)}`);
  return parts.join(" · ");
}

function hashOf(job) {
  return `#job=${encodeURIComponent(job.kind)}/${encodeURIComponent(job.id)}`;
}

// The job that the address names, or null.
export function chosenJob() {
  const match = /^#job=([^/]+)\/(.+)$/.exec(location.hash);
  if (!match) return null;
  return {kind: decodeURIComponent(match[1]), id: decodeURIComponent(match[2])};
}

function makeItem(job) {
  return element(
      "li", {class: "job"},
      element("div", {class: "line"},
              element("a", {href: hashOf(job)}), element("span", {class: "tag"}),
              element("span", {class: "soft grow"}), element("span", {class: "soft"})),
      element("progress", {max: 1, value: 0}),
      element("div", {class: "line under"}, element("span", {class: "grow"}), element("span")));
}

function updateItem(item, job) {
  const [head, bar, foot] = item.children;
  const [name, state, what, loss] = head.children;
  setText(name, job.id);
  setText(state, job.state);
  state.className = `tag ${job.state}`;
  setText(what, `${KINDS[job.kind] ?? job.kind} of ${job.model}`);
  setText(loss, lossText(job));
  bar.value = fractionOf(job);
  bar.setAttribute("aria-label", `Progress of ${job.id}`);
  bar.className = job.state;
  setText(foot.children[0], activity(job));
  setText(foot.children[1],
          hasEnded(job) || job.state === "queued" ? "" : format.percent(fractionOf(job)));
  const chosen = chosenJob();
  const current = chosen !== null && chosen.kind === job.kind && chosen.id === job.id;
  name.toggleAttribute("aria-current", current);
  item.classList.toggle("chosen", current);
}

function empty(overview) {
  if (!overview?.fine_tuning) {
    return element(
        "p", {class: "empty"},
        "There are no jobs. Fine-tuning needs a data directory: start the server with ",
        element("code", {}, "whipsnake serve --data DIR"));
  }
  return element(
      "div", {class: "empty"}, element("p", {}, "There are no jobs. Make one:"),
      element("pre", {}, "whipsnake datasets upload reviews.jsonl --task causal-lm --id reviews\n" +
                             "whipsnake finetune create --model NAME --train reviews"));
}

export function showJobs(jobs, overview) {
  const body = byId("jobs-body");
  const wanted = jobs.length === 0 ? "empty" : "list";
  if (body.dataset.shows !== wanted) {
    body.dataset.shows = wanted;
    body.replaceChildren(wanted === "empty" ? empty(overview) : element("ul", {class: "jobs"}));
  }
  if (wanted === "empty") return;
  keep(body.firstElementChild, jobs, (job) => `${job.kind}/${job.uid}`, makeItem, updateItem);
}
