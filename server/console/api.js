// Requests to the server: polling that slows down when it fails and stops while nobody looks.
import {askForToken, authorization, tokenAccepted} from "./token.js";

const BASE = new URL("api/", import.meta.url);
const SHORTEST = 1500;  // milliseconds
const LONGEST = 30000;
const PATIENCE = 15000;

// An error that the server has reported, with its reason.
export class ServerError extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

function url(path, parameters = {}) {
  const target = new URL(path, BASE);
  for (const [name, value] of Object.entries(parameters)) target.searchParams.set(name, value);
  return target;
}

// Throws a ServerError for a response that reports one. Asks for a token if the server wants one,
// or another one.
async function checked(response) {
  if (response.ok) return response;
  const text = await response.text();
  if (response.headers.has("WWW-Authenticate")) {
    askForToken(text.trim());
    throw new ServerError("TOKEN_WANTED", text.trim());
  }
  let reply = {};
  try {
    reply = JSON.parse(text);
  } catch {
    // Not from the console.
  }
  throw new ServerError(reply.error?.reason ?? `HTTP_${response.status}`,
                        reply.error?.message ?? `The server answered ${response.status}.`);
}

// Sends a request, with the token if there is one, and returns its response. `options` are those of
// fetch. Throws a ServerError for a response that reports one.
export async function send(path, options = {}, parameters = {}) {
  const headers = {...options.headers, ...authorization()};
  return await checked(await fetch(url(path, parameters), {...options, headers}));
}

// The server did not answer.
export class Unreachable extends Error {}

// Throws a ServerError or Unreachable.
export async function get(path, parameters) {
  try {
    const response = await send(path, {signal: AbortSignal.timeout(PATIENCE)}, parameters);
    const reply = await response.json();
    tokenAccepted();
    return reply;
  } catch (error) {
    throw error instanceof ServerError ? error : new Unreachable(error.message);
  }
}

// Calls `poll` again and again. `poll` returns the milliseconds until the next call, or nothing
// for the usual time. After an error the time doubles, up to a limit. `onConnection` is told
// after each call whether the server could be reached, and in how many milliseconds the next call
// is.
export class Poller {
  constructor(poll, onConnection = () => {}) {
    this.poll = poll;
    this.onConnection = onConnection;
    this.delay = SHORTEST;
    this.timer = null;
    this.running = false;
    this.again = false;
    this.stopped = false;
    document.addEventListener("visibilitychange", () => this.now());
  }

  // Calls it at once, or as soon as the call in progress has ended.
  async now() {
    clearTimeout(this.timer);
    this.timer = null;
    this.again = this.running;
    if (this.running || this.stopped || document.hidden) return;
    this.running = true;
    let next = SHORTEST;
    try {
      next = (await this.poll()) ?? SHORTEST;
      this.delay = SHORTEST;
      this.onConnection(true, next);
    } catch (error) {
      this.delay = Math.min(2 * this.delay, LONGEST);
      next = this.delay;
      this.onConnection(!(error instanceof Unreachable), next);
      if (!(error instanceof Unreachable || error instanceof ServerError)) throw error;
    } finally {
      this.running = false;
      if (!this.stopped) this.timer = setTimeout(() => this.now(), this.again ? 0 : next);
    }
  }

  stop() {
    clearTimeout(this.timer);
    this.stopped = true;
  }
}
