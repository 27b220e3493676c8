// The box to try a prompt: sends it, and shows the text as it comes.
import {send, ServerError} from "./api.js";
import {byId, element, keep, setText, showText} from "./dom.js";
import * as format from "./format.js";

// What to do about an error, by its reason.
const ADVICE = {
  TOO_MANY_PROMPTS: "Stop another prompt, or wait until one has ended.",
  RESOURCE_EXHAUSTED: "The server is busy. Try again in a moment, or ask for fewer tokens.",
  UNAVAILABLE: "The model is being loaded or the server stops. Try again in a moment.",
  NOT_FOUND: "Choose another model: this one is no longer there.",
  FAILED_PRECONDITION: "Choose another model, or load this one again.",
};

function describe(error) {
  const advice = ADVICE[error.reason];
  return advice ? `${error.message} ${advice}` : error.message;
}

// Yields the objects of a body of one JSON object a line.
async function* lines(response) {
  const decoder = new TextDecoderStream();
  const reader = response.body.pipeThrough(decoder).getReader();
  let rest = "";
  while (true) {
    const {value, done} = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

const form = byId("prompt-form");
const button = byId("prompt-button");
const note = byId("prompt-note");
const output = byId("prompt-output");
let running = null;  // the AbortController of the prompt in progress

function show(message) {
  if (message.started) {
    setText(note, `${format.plural(message.started.prompt_tokens, "prompt token")}, generating…`);
  } else if (message.text !== undefined) {
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 24;
    output.append(message.text);
    if (atEnd) output.scrollTop = output.scrollHeight;
  } else if (message.finished) {
    const {generated_tokens: tokens, tokens_per_second: speed, reason} = message.finished;
    const first = message.finished.seconds_to_first_token;
    const parts = [format.plural(tokens, "token")];
    if (speed) parts.push(`${format.number(speed)} tokens/s`);
    parts.push(`first after ${format.duration(first)}`);
    parts.push(reason === "length" ? "stopped at the limit of tokens" : `ended by ${reason}`);
    setText(note, parts.join(" · "));
  } else if (message.error) {
    throw new ServerError(message.error.reason, message.error.message);
  }
}

async function generate(controller) {
  const response = await send("generate", {
    method: "POST",
    headers: {"Content-Type": "application/json", "X-Whipsnake-Console": "1"},
    body: JSON.stringify({
      model: byId("prompt-model").value,
      text: byId("prompt-text").value,
      max_new_tokens: byId("prompt-tokens").valueAsNumber,
      temperature: byId("prompt-temperature").valueAsNumber,
    }),
    signal: controller.signal,
  });
  let ended = false;
  for await (const message of lines(response)) {
    show(message);
    ended = ended || message.finished !== undefined;
  }
  if (!ended) throw new ServerError("CUT_OFF", "The connection ended before the output did.");
}

async function submit(event) {
  event.preventDefault();
  if (running) {
    running.abort();
    return;
  }
  running = new AbortController();
  setText(button, "Stop");
  showText(byId("prompt-error"), "");
  output.replaceChildren();
  setText(note, "Waiting for the model…");
  try {
    await generate(running);
  } catch (error) {
    const stopped = error.name === "AbortError";
    setText(note, stopped ? "Stopped." : "");
    if (!stopped) {
      showText(byId("prompt-error"), error instanceof ServerError
          ? describe(error) : "The server cannot be reached. Is it still running?");
    }
  } finally {
    running = null;
    setText(button, "Generate");
  }
}

export function startPrompts() {
  form.addEventListener("submit", submit);
  byId("prompt-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

// Offers the models that can answer, those that serve first.
export function offerModels(models) {
  const ready = models.filter((model) => model.state === "ready")
                    .sort((a, b) => Number(b.serves) - Number(a.serves));
  keep(byId("prompt-model"), ready, (model) => model.name, (model) => element("option", {value: model.name}),
       (option, model) => setText(option, model.name));
  button.disabled = ready.length === 0 && running === null;
}
