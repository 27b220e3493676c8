// The console: asks the server for its state and shows it.
import {get, Poller} from "./api.js";
import {byId, showText} from "./dom.js";
import * as format from "./format.js";
import {JobView} from "./job.js";
import {chosenJob, showJobs} from "./jobs.js";
import {showModels} from "./models.js";
import {showOverview, showState} from "./overview.js";
import {offerModels, startPrompts} from "./prompt.js";
import {startTokens} from "./token.js";

let view = null;  // of the chosen job

function showConnection(reached, next) {
  document.body.classList.toggle("lost", !reached);
  if (!reached) showState("bad", "Connection lost");
  showText(byId("connection"),
           reached ? "" : "The server cannot be reached. What is shown may be old. The next try is in " +
                              `${format.duration(next / 1000)}.`);
}

async function poll() {
  const [overview, {models}, {jobs}] =
      await Promise.all([get("overview"), get("models"), get("jobs")]);
  showOverview(overview);
  showModels(models);
  offerModels(models);
  showJobs(jobs, overview);
}

const poller = new Poller(poll, showConnection);

function choose() {
  const job = chosenJob();
  if (view && job && view.kind === job.kind && view.id === job.id) return;
  view?.close();
  view = job ? new JobView(job.kind, job.id) : null;
  poller.now();
}

addEventListener("hashchange", choose);
startPrompts();
startTokens(() => poller.now());
choose();
