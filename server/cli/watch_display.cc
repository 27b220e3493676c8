#include "server/cli/watch_display.h"

#include <grpcpp/client_context.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <iostream>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/human.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "server/cli/job_output.h"
#include "server/cli/progress.h"

namespace whipsnake::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int64_t kMostSparkCells = 40, kMostLayerCells = 60;
constexpr milliseconds kRedraw{100}, kRefresh{1000};

// Cuts a text after so many characters.
std::string Cut(const std::string& text, int64_t characters) {
  size_t end = 0;
  for (int64_t i = 0; i < characters && end < text.size(); ++i) engine::NextCodePoint(text, &end);
  return text.substr(0, end);
}

// Joins as many of the parts that are not "" as there is room for.
std::string Join(std::initializer_list<std::string> parts, int64_t columns) {
  std::string line;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    const std::string longer = absl::StrCat(line, "  ", part);
    if (engine::CountCharacters(longer) > columns) break;
    line = longer;
  }
  return line;
}

std::string TitleLine(const WatchView& view, int columns) {
  const v1::FineTuningJob& job = view.job;
  const v1::FineTuningProgress& progress = job.progress();
  const std::string name = job.id() + ": ";
  if (view.cut) {
    const double seconds = static_cast<double>(view.cut->count()) / 1000;
    return absl::StrCat(name, "no connection for ", engine::HumanDuration(seconds),
                        "; tries again");
  }
  switch (job.state()) {
    case v1::FINE_TUNING_JOB_STATE_VALIDATING:
    case v1::FINE_TUNING_JOB_STATE_RUNNING: {
      const std::string stage =
          progress.stage().empty() ? JobStateText(job.state()) : progress.stage();
      std::optional<double> left;
      if (progress.has_remaining_seconds()) left = progress.remaining_seconds();
      return BarLine(name + stage, progress.fraction(), left, columns);
    }
    case v1::FINE_TUNING_JOB_STATE_QUEUED:
      return absl::StrCat(name, "queued, number ", job.queue_position(),
                          job.waits_for().empty() ? "" : "; waits for ", job.waits_for());
    default:
      return absl::StrCat(name, JobStateText(job.state()), job.state_reason().empty() ? "" : ", ",
                          job.state_reason());
  }
}

std::string StepLine(const v1::FineTuningProgress& progress, int columns) {
  return Join(
      {absl::StrCat("step ", progress.step(), "/", progress.steps()),
       absl::StrFormat("epoch %.2f", progress.epoch()),
       absl::StrCat(engine::HumanNumber(progress.tokens_per_second(), 3), " tokens/s"),
       engine::HumanBytes(progress.heap_bytes()),
       progress.checkpoint_step() > 0 ? absl::StrCat("checkpoint at ", progress.checkpoint_step())
                                      : ""},
      columns);
}

std::string LossLine(const WatchView& view, int columns) {
  const v1::FineTuningProgress& progress = view.job.progress();
  const std::string loss = absl::StrFormat("loss %.4f", progress.loss());
  const std::string accuracy =
      progress.has_accuracy() ? absl::StrFormat("accuracy %.4f", progress.accuracy()) : "";
  const std::string evaluation =
      progress.has_eval_loss() ? absl::StrFormat("evaluation %.4f", progress.eval_loss()) : "";
  const int64_t frames = 8;  // the gaps between the parts
  const int64_t room =
      columns - frames - std::ssize(loss) - std::ssize(accuracy) - std::ssize(evaluation);
  return Join({loss, Sparkline(view.history.losses(), std::min(room, kMostSparkCells)), accuracy,
               evaluation},
              columns);
}

std::string LayerLine(const LayerMap& layers, int columns) {
  const std::string count = absl::StrCat(layers.active_count(), "/", layers.active.size());
  const int64_t room = columns - std::ssize(count) - std::ssize("  layers   ");
  return Join({absl::StrCat("layers ", layers.Strip(std::min(room, kMostLayerCells))), count},
              columns);
}

// One object for each event.
class JsonDisplay final : public JobListener {
 public:
  explicit JsonDisplay(const Output& output) : output_(output) {}
  void OnEvent(const v1::FineTuningEvent& event) override { output_.Object(EventJson(event)); }

 private:
  const Output& output_;
};

// A line for each event but most steps.
class LogDisplay final : public JobListener {
 public:
  void OnEvent(const v1::FineTuningEvent& event) override {
    if (event.has_step() && !IsLoggedStep(event.step())) return;
    std::cout << engine::TimeStamp(event.time().seconds()) << "  " << EventText(event) << "\n"
              << std::flush;
  }
  void OnCut(milliseconds time) override {
    if (std::exchange(cut_, true)) return;
    std::cerr << "note: no connection for "
              << engine::HumanDuration(static_cast<double>(time.count()) / 1000)
              << "; tries again\n";
  }
  void OnJob(const v1::FineTuningJob& /*job*/) override { cut_ = false; }

 private:
  bool cut_ = false;
};

// Lines at the end of the terminal that are drawn again and again, and above them a line for each
// event but steps and checkpoints. A thread asks the server for what no event tells: the stage and
// the place in the queue.
class LiveDisplay final : public JobListener {
 public:
  LiveDisplay(const ClientFlags& client, std::string id)
      : id_(std::move(id)),
        stub_(v1::FineTuningService::NewStub(Connect(client))),
        refresher_([this] { Refresh(); }) {}
  ~LiveDisplay() override {
    {
      engine::MutexLock lock(mutex_);
      done_ = true;
      wake_.NotifyAll();
    }
    refresher_.join();
    engine::MutexLock lock(mutex_);
    Erase();
  }

  void OnEvent(const v1::FineTuningEvent& event) override {
    engine::MutexLock lock(mutex_);
    if (event.has_step()) {
      view_.history.Add(event.step().step(), event.step().loss());
      view_.layers = LayerMap::Parse(event.step().active());
    } else if (!event.has_checkpoint()) {
      Erase();
      std::cout << EventText(event) << "\n" << std::flush;
    }
    Draw();
  }
  void OnJob(const v1::FineTuningJob& job) override {
    engine::MutexLock lock(mutex_);
    view_.job = job;
    view_.cut.reset();
    Draw();
  }
  void OnCut(milliseconds time) override {
    engine::MutexLock lock(mutex_);
    view_.cut = time;
    Draw();
  }

 private:
  void Erase() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (drawn_lines_ > 0) std::cerr << "\r\033[" << drawn_lines_ << "A\033[J" << std::flush;
    drawn_lines_ = 0;
    next_draw_ = steady_clock::time_point::min();
  }
  void Draw() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto now = steady_clock::now();
    if (view_.job.id().empty() || now < next_draw_) return;
    Erase();
    next_draw_ = now + kRedraw;
    const std::vector<std::string> lines = WatchLines(view_, TerminalColumns());
    for (const std::string& line : lines) std::cerr << line << "\n";
    std::cerr << std::flush;
    drawn_lines_ = lines.size();
  }

  void Refresh() {
    while (true) {
      const std::optional<v1::FineTuningJob> job = Ask();
      engine::MutexLock lock(mutex_);
      if (job && !done_) {
        view_.job = *job;
        view_.cut.reset();
        Draw();
      }
      const auto next = steady_clock::now() + kRefresh;
      while (!done_ && wake_.WaitUntil(mutex_, next)) {
      }
      if (done_) return;
    }
  }
  std::optional<v1::FineTuningJob> Ask() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kRefresh);
    v1::GetFineTuningJobRequest request;
    request.set_id(id_);
    v1::GetFineTuningJobResponse response;
    if (!stub_->GetFineTuningJob(&context, request, &response).ok()) return std::nullopt;
    return std::move(*response.mutable_job());
  }

  const std::string id_;
  const std::unique_ptr<v1::FineTuningService::Stub> stub_;
  engine::Mutex mutex_;
  engine::CondVar wake_;
  WatchView view_ ABSL_GUARDED_BY(mutex_);
  size_t drawn_lines_ ABSL_GUARDED_BY(mutex_) = 0;
  steady_clock::time_point next_draw_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread refresher_;  // last, because it uses the others
};

}  // namespace

std::vector<std::string> WatchLines(const WatchView& view, int columns) {
  std::vector<std::string> lines = {Cut(TitleLine(view, columns), columns)};
  const v1::FineTuningProgress& progress = view.job.progress();
  if (progress.step() == 0) return lines;
  lines.push_back(StepLine(progress, columns));
  lines.push_back(LossLine(view, columns));
  if (!view.layers.active.empty()) lines.push_back(LayerLine(view.layers, columns));
  return lines;
}

bool IsLoggedStep(const v1::StepTaken& step) {
  constexpr int64_t kLines = 20;
  if (step.step() <= 1 || step.step() >= step.steps()) return true;
  return step.step() * kLines / step.steps() != (step.step() - 1) * kLines / step.steps();
}

std::unique_ptr<JobListener> MakeWatchDisplay(const ClientFlags& client, const std::string& id,
                                              const Output& output) {
  if (output.json()) return std::make_unique<JsonDisplay>(output);
  if (StderrIsTerminal() && isatty(STDOUT_FILENO) != 0) {
    return std::make_unique<LiveDisplay>(client, id);
  }
  return std::make_unique<LogDisplay>();
}

}  // namespace whipsnake::server
