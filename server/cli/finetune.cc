// whipsnake finetune create|plan|get|list|watch|events|checkpoints|pause|resume|cancel|delete
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/status.h"
#include "server/cli/client.h"
#include "server/cli/command.h"
#include "server/cli/finetune_promote.h"
#include "server/cli/finetune_settings.h"
#include "server/cli/interruption.h"
#include "server/cli/job_follower.h"
#include "server/cli/job_output.h"
#include "server/cli/progress.h"
#include "server/cli/unary_call.h"
#include "server/cli/watch_display.h"
#include "whipsnake/v1/fine_tuning.grpc.pb.h"

namespace whipsnake::server {
namespace {

using JobStub = v1::FineTuningService::StubInterface;
using std::chrono::milliseconds;

struct FinetuneFlags {
  ClientFlags client;
  JobSettingsFlags settings;
  std::string id, etag, filter, order_by;
  std::vector<std::string> labels;  // KEY=VALUE
  int32_t priority = 0;
  int64_t after = 0;
  double retry_seconds = 300;
  bool no_wait = false, watch = false;
};

int64_t Now() { return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()); }

// Prints a job, and its plan unless it has ended well.
void Print(const v1::FineTuningJob& job, const Output& output) {
  if (output.json()) return output.Object({{"job", JobJson(job)}});
  std::cout << JobText(job, Now());
  if (job.state() != v1::FINE_TUNING_JOB_STATE_SUCCEEDED) std::cout << JobPlanText(job);
}

// What to do with a job next.
std::string Advice(const v1::FineTuningJob& job, const ClientFlags& client) {
  switch (job.state()) {
    case v1::FINE_TUNING_JOB_STATE_SUCCEEDED:
      return CommandText(client, absl::StrCat("finetune promote ", job.id(), " --model NAME")) +
             " lets it serve.";
    case v1::FINE_TUNING_JOB_STATE_FAILED:
      if (job.start_time().seconds() == 0) return "";
      [[fallthrough]];
    case v1::FINE_TUNING_JOB_STATE_PAUSED:
      return CommandText(client, "finetune resume " + job.id()) +
             " continues after the last checkpoint.";
    case v1::FINE_TUNING_JOB_STATE_CANCELLED:
      return "";
    default:
      return CommandText(client, "finetune watch " + job.id()) + " shows how it goes on.";
  }
}

void PrintAdvice(const v1::FineTuningJob& job, const ClientFlags& client, const Output& output) {
  const std::string advice = Advice(job, client);
  if (!output.json() && !advice.empty()) std::cout << advice << "\n";
}

// Reports that a wait for a job was interrupted. Returns the exit code.
int ReportInterrupted(const ClientFlags& client, const std::string& id, int64_t last_event,
                      const Output& output) {
  const std::string watch = last_event > 0
                                ? absl::StrCat("finetune watch ", id, " --after ", last_event)
                                : "finetune watch " + id;
  absl::Status status = absl::CancelledError(absl::StrCat(
      "interrupted; job ", id, " continues in the server: ", CommandText(client, watch),
      " shows the rest, ", CommandText(client, "finetune cancel " + id), " ends it"));
  SetErrorDetails(status, {{"job", id}, {"last_event_id", last_event}});
  output.Error(status);
  return kInterrupted;
}

// Asks for the job until its state is another one than this. CANCELLED after Ctrl-C.
absl::StatusOr<v1::FineTuningJob> WaitWhile(v1::FineTuningJobState state, v1::FineTuningJob job,
                                            const ClientFlags& client, Interruption& interruption) {
  constexpr milliseconds kPause{100};
  Progress progress(JobStateText(state));
  while (job.state() == state) {
    if (!job.progress().stage().empty()) progress.SetWhat(job.progress().stage());
    progress.Set(job.progress().fraction());
    if (!interruption.Sleep(kPause)) return absl::CancelledError("interrupted");
    ASSIGN_OR_RETURN(job, GetJob(client, job.id()));
  }
  return job;
}

absl::StatusOr<int> WatchJob(const FinetuneFlags& flags, const std::string& id,
                             Interruption& interruption, const Output& output) {
  JobFollower follower(flags.client, id, flags.after, &interruption);
  std::unique_ptr<JobListener> display = MakeWatchDisplay(flags.client, id, output);
  absl::StatusOr<v1::FineTuningJob> job =
      follower.Follow(*display, milliseconds(static_cast<int64_t>(flags.retry_seconds * 1000)));
  display.reset();  // erases what it has drawn
  if (interruption.raised()) {
    return ReportInterrupted(flags.client, id, follower.last_event_id(), output);
  }
  if (!job.ok()) {
    if (follower.last_event_id() == 0) return job.status();
    return engine::WithContext(
        job.status(), absl::StrCat("after event ", follower.last_event_id(), ", which --after ",
                                   follower.last_event_id(), " continues after"));
  }
  Print(*job, output);
  PrintAdvice(*job, flags.client, output);
  return job->state() == v1::FINE_TUNING_JOB_STATE_SUCCEEDED ? 0 : 1;
}

absl::StatusOr<int> WatchToEnd(const FinetuneFlags& flags, const Output& output) {
  Interruption interruption;
  return WatchJob(flags, flags.id, interruption, output);
}

absl::StatusOr<v1::CreateFineTuningJobRequest> RequestOf(const FinetuneFlags& flags) {
  v1::CreateFineTuningJobRequest request;
  ASSIGN_OR_RETURN(*request.mutable_spec(), MakeJobSpec(flags.settings));
  request.set_id(flags.id);
  request.set_priority(flags.priority);
  for (const std::string& label : flags.labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0) {
      return engine::InvalidField("--label", engine::Quoted(label), "KEY=VALUE");
    }
    (*request.mutable_labels())[label.substr(0, equals)] = label.substr(equals + 1);
  }
  return request;
}

absl::StatusOr<int> CreateJob(const FinetuneFlags& flags, const Output& output) {
  Interruption interruption;
  ASSIGN_OR_RETURN(const v1::CreateFineTuningJobRequest request, RequestOf(flags));
  ASSIGN_OR_RETURN(auto response, UnaryCall<v1::FineTuningService>(
                                      flags.client, &JobStub::CreateFineTuningJob, request));
  v1::FineTuningJob job = std::move(*response.mutable_job());
  const std::string id = job.id();
  if (flags.watch) return WatchJob(flags, id, interruption, output);
  if (!flags.no_wait) {
    auto validated =
        WaitWhile(v1::FINE_TUNING_JOB_STATE_VALIDATING, job, flags.client, interruption);
    if (interruption.raised()) return ReportInterrupted(flags.client, id, 0, output);
    if (!validated.ok()) return engine::WithContext(validated.status(), "job " + id);
    job = *std::move(validated);
  }
  Print(job, output);
  PrintAdvice(job, flags.client, output);
  return job.state() == v1::FINE_TUNING_JOB_STATE_FAILED ? 1 : 0;
}

absl::StatusOr<int> PlanJob(const FinetuneFlags& flags, const Output& output) {
  v1::PlanFineTuningJobRequest request;
  ASSIGN_OR_RETURN(*request.mutable_spec(), MakeJobSpec(flags.settings));
  ASSIGN_OR_RETURN(const auto response, UnaryCall<v1::FineTuningService>(
                                            flags.client, &JobStub::PlanFineTuningJob, request));
  if (output.json()) {
    output.Object(PlanJson(response));
  } else {
    std::cout << PlanText(response.plan(), response.resolved_spec()) << "\n"
              << CandidatesTable(response.candidates()) << "\nfits: in "
              << engine::HumanBytes(response.available_bytes())
              << ", what the server has beside its models.\n--memory-budget takes the first that "
                 "fits.\n";
  }
  return response.fits() ? 0 : 1;
}

absl::StatusOr<int> ShowJob(const FinetuneFlags& flags, const Output& output) {
  ASSIGN_OR_RETURN(const v1::FineTuningJob job, GetJob(flags.client, flags.id));
  Print(job, output);
  return 0;
}

absl::StatusOr<int> ListJobs(const FinetuneFlags& flags, const Output& output) {
  std::vector<v1::FineTuningJob> jobs;
  v1::ListFineTuningJobsRequest request;
  request.set_filter(flags.filter);
  request.set_order_by(flags.order_by);
  do {
    ASSIGN_OR_RETURN(auto response, UnaryCall<v1::FineTuningService>(
                                        flags.client, &JobStub::ListFineTuningJobs, request));
    for (v1::FineTuningJob& job : *response.mutable_jobs()) jobs.push_back(std::move(job));
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());

  if (output.json()) {
    Json list = Json::array();
    for (const v1::FineTuningJob& job : jobs) list.push_back(JobJson(job));
    output.Object({{"jobs", list}});
    return 0;
  }
  std::cout << JobsTable(jobs, Now());
  if (jobs.empty()) {
    std::cerr << "There are no such jobs. Make one with 'whipsnake finetune create --model NAME "
                 "--train DATASET'.\n";
  }
  return 0;
}

absl::StatusOr<int> ListEvents(const FinetuneFlags& flags, const Output& output) {
  v1::ListFineTuningEventsRequest request;
  request.set_id(flags.id);
  request.set_page_size(1000);
  request.set_after_event_id(flags.after);
  v1::ListFineTuningEventsResponse response;
  do {
    ASSIGN_OR_RETURN(response, UnaryCall<v1::FineTuningService>(
                                   flags.client, &JobStub::ListFineTuningEvents, request));
    for (const v1::FineTuningEvent& event : response.events()) {
      if (output.json()) {
        output.Object(EventJson(event));
      } else {
        std::cout << absl::StrFormat("%6d  %s  %s\n", event.id(),
                                     engine::TimeStamp(event.time().seconds()), EventText(event));
      }
      request.set_after_event_id(event.id());
    }
  } while (response.more());
  return 0;
}

absl::StatusOr<int> ListCheckpoints(const FinetuneFlags& flags, const Output& output) {
  v1::ListCheckpointsRequest request;
  request.set_id(flags.id);
  ASSIGN_OR_RETURN(const auto response, UnaryCall<v1::FineTuningService>(
                                            flags.client, &JobStub::ListCheckpoints, request));
  if (output.json()) {
    Json list = Json::array();
    for (const v1::Checkpoint& checkpoint : response.checkpoints()) {
      list.push_back(CheckpointJson(checkpoint));
    }
    output.Object({{"checkpoints", list}});
  } else {
    std::cout << CheckpointsTable(response.checkpoints());
  }
  return 0;
}

// Asks for a change of a job's state, and waits while the job is on its way to it. The exit code
// says whether it got there.
template <typename Request, typename Response>
absl::StatusOr<int> Change(const FinetuneFlags& flags, const Output& output,
                           grpc::Status (JobStub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                           v1::FineTuningJobState on_the_way, v1::FineTuningJobState target) {
  Interruption interruption;
  Request request;
  request.set_id(flags.id);
  request.set_etag(flags.etag);
  ASSIGN_OR_RETURN(const Response response,
                   UnaryCall<v1::FineTuningService>(flags.client, method, request));
  v1::FineTuningJob job = response.job();
  if (!flags.no_wait) {
    auto changed = WaitWhile(on_the_way, job, flags.client, interruption);
    if (interruption.raised()) return ReportInterrupted(flags.client, flags.id, 0, output);
    RETURN_IF_ERROR(changed.status());
    job = *std::move(changed);
  }
  if (output.json()) {
    output.Object({{"job", JobJson(job)}});
  } else {
    std::cout << JobsTable({job}, Now());
  }
  PrintAdvice(job, flags.client, output);
  return job.state() == target || job.state() == on_the_way ? 0 : 1;
}

absl::StatusOr<int> PauseJob(const FinetuneFlags& flags, const Output& output) {
  return Change(flags, output, &JobStub::PauseFineTuningJob, v1::FINE_TUNING_JOB_STATE_PAUSING,
                v1::FINE_TUNING_JOB_STATE_PAUSED);
}

absl::StatusOr<int> CancelJob(const FinetuneFlags& flags, const Output& output) {
  return Change(flags, output, &JobStub::CancelFineTuningJob, v1::FINE_TUNING_JOB_STATE_CANCELLING,
                v1::FINE_TUNING_JOB_STATE_CANCELLED);
}

absl::StatusOr<int> ResumeJob(const FinetuneFlags& flags, const Output& output) {
  v1::ResumeFineTuningJobRequest request;
  request.set_id(flags.id);
  request.set_etag(flags.etag);
  ASSIGN_OR_RETURN(const auto response, UnaryCall<v1::FineTuningService>(
                                            flags.client, &JobStub::ResumeFineTuningJob, request));
  if (output.json()) {
    output.Object({{"job", JobJson(response.job())}});
  } else {
    std::cout << JobsTable({response.job()}, Now());
  }
  PrintAdvice(response.job(), flags.client, output);
  return 0;
}

absl::StatusOr<int> DeleteJob(const FinetuneFlags& flags, const Output& output) {
  v1::DeleteFineTuningJobRequest request;
  request.set_id(flags.id);
  request.set_etag(flags.etag);
  RETURN_IF_ERROR(
      UnaryCall<v1::FineTuningService>(flags.client, &JobStub::DeleteFineTuningJob, request)
          .status());
  if (output.json()) {
    output.Object({{"deleted", flags.id}});
  } else {
    std::cout << "Deleted " << flags.id << ".\n";
  }
  return 0;
}

void AddId(Command command, FinetuneFlags& flags) {
  command.AddOption("id", flags.id, "The job's id").TypeName("ID").Required();
}

void AddEtag(Command command, FinetuneFlags& flags) {
  command.AddOption("--etag", flags.etag, "Acts only on this revision, as 'get --json' shows it")
      .TypeName("ETAG");
}

void AddAfter(Command command, FinetuneFlags& flags) {
  command.AddOption("--after", flags.after, "Only events after the one with this number")
      .TypeName("EVENT");
}

void AddRetry(Command command, FinetuneFlags& flags) {
  command
      .AddOption("--retry", flags.retry_seconds,
                 "Seconds without a connection to the server after which the watch ends. It "
                 "connects again and misses nothing")
      .RealRange(0, 1e9)
      .TypeName("SECONDS")
      .ShowDefault();
}

void AddCreateFlags(Command command, FinetuneFlags& flags) {
  command
      .AddOption("--id", flags.id,
                 "A name for the job (default: one that the server makes). The same command again "
                 "then makes no second job")
      .TypeName("ID");
  command
      .AddOption("--priority", flags.priority,
                 "Jobs with a higher priority run first, -100 to 100 (default: 0)")
      .TypeName("N");
  command.AddOption("--label", flags.labels, "A note on the job; repeatable")
      .TypeName("KEY=VALUE")
      .Repeatable();
  AddJobSettingsFlags(command, flags.settings);
  const Option no_wait =
      command.AddFlag("--no-wait", flags.no_wait, "Does not wait for the validation");
  command.AddFlag("--watch", flags.watch, "Shows the job to its end, as 'finetune watch' does")
      .Excludes(no_wait);
  AddRetry(command, flags);
}

}  // namespace

void AddFinetuneCommands(CommandLine& line) {
  auto flags = std::make_shared<FinetuneFlags>();
  CommandGroup finetune =
      line.AddGroup("finetune", "Fine-tunes models in a server, as jobs that survive its crashes");
  const auto add = [&](const std::string& name, const std::string& description,
                       const std::string& examples, auto action) {
    Command command =
        line.Add(finetune, name, description, examples,
                 [flags, action](const Output& output) { return action(*flags, output); });
    AddClientFlags(command, flags->client);
    return command;
  };
  const auto add_for_job = [&](const std::string& name, const std::string& description,
                               const std::string& examples, auto action) {
    Command command = add(name, description, examples, action);
    AddId(command, *flags);
    return command;
  };

  AddCreateFlags(
      add("create", "Makes a job, and shows what it needs once the server has read the data",
          "  whipsnake datasets upload reviews.jsonl --task causal-lm --id reviews\n"
          "  whipsnake finetune create --model demo --train reviews --id reviews-1\n"
          "  whipsnake finetune create --model demo --train reviews --epochs 1 --watch\n"
          "  whipsnake finetune create --config job.json --memory-budget 2GB\n",
          CreateJob),
      *flags);
  AddJobSettingsFlags(add("plan", "Shows what a job would need in memory and time; makes no job",
                          "  whipsnake finetune plan --model demo --train reviews\n"
                          "  whipsnake finetune plan --config job.json --memory-budget 2GB\n",
                          PlanJob),
                      flags->settings);

  Command list = add("list", "Lists jobs, the latest first",
                     "  whipsnake finetune list\n"
                     "  whipsnake finetune list --filter 'state = QUEUED' --order-by "
                     "queue_position\n"
                     "  whipsnake finetune list --filter 'labels.team = \"search\" AND priority >= "
                     "5'\n",
                     ListJobs);
  list.AddOption("--filter", flags->filter,
                 "Conditions joined by AND, on state, model, task, id, priority, labels.KEY")
      .TypeName("CONDITIONS");
  list.AddOption("--order-by", flags->order_by,
                 "create_time, 'create_time desc', 'priority desc' or queue_position (default: "
                 "'create_time desc')")
      .TypeName("ORDER");

  add_for_job("get", "Shows a job with its plan", "  whipsnake finetune get reviews-1\n", ShowJob);

  Command watch = add_for_job(
      "watch",
      "Shows a job as it goes on, until it has ended; the exit code says whether it succeeded. "
      "Ctrl-C ends the watch, not the job",
      "  whipsnake finetune watch reviews-1\n"
      "  whipsnake finetune watch reviews-1 --json --after 120 > events.jsonl\n",
      WatchToEnd);
  AddAfter(watch, *flags);
  AddRetry(watch, *flags);

  AddAfter(add_for_job("events", "Prints what has happened to a job",
                       "  whipsnake finetune events reviews-1\n"
                       "  whipsnake finetune events reviews-1 --after 120 --json\n",
                       ListEvents),
           *flags);
  add_for_job("checkpoints", "Lists the checkpoints of a job",
              "  whipsnake finetune checkpoints reviews-1\n", ListCheckpoints);

  Command pause = add_for_job(
      "pause", "Stops a job after its current step, with a checkpoint, and frees its memory",
      "  whipsnake finetune pause reviews-1\n  whipsnake finetune resume reviews-1\n", PauseJob);
  AddEtag(pause, *flags);
  pause.AddFlag("--no-wait", flags->no_wait, "Does not wait until the job has stopped");
  AddEtag(add_for_job("resume",
                      "Queues a job again that is paused or has failed; it continues after its "
                      "last checkpoint",
                      "  whipsnake finetune resume reviews-1\n", ResumeJob),
          *flags);
  Command cancel = add_for_job("cancel", "Ends a job for good; its checkpoints stay",
                               "  whipsnake finetune cancel reviews-1\n", CancelJob);
  AddEtag(cancel, *flags);
  cancel.AddFlag("--no-wait", flags->no_wait, "Does not wait until the job has stopped");
  AddEtag(add_for_job("delete",
                      "Deletes a job that has ended or is paused, with its checkpoints and its "
                      "result; what was promoted stays",
                      "  whipsnake finetune delete reviews-1\n", DeleteJob),
          *flags);
  AddPromoteCommand(line, finetune);
}

}  // namespace whipsnake::server
