#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "engine/base/status.h"
#include "engine/generate/generator.h"
#include "engine/generate/sequence.h"
#include "engine/generate/stream.h"

namespace whipsnake::engine {
namespace {

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Stands in where nobody observes.
class NullObserver : public GenerationObserver {
 public:
  void OnStarted(double) override {}
  void OnStep(bool, int64_t, int64_t, double) override {}
  void OnFirstToken(double) override {}
  void OnInterToken(double) override {}
  void OnFinished(const absl::Status&, const Finished&, double) override {}
};

struct Job {
  GenerationRequest request;
  std::shared_ptr<BufferedStream> stream;
};

// One request on its way through the model.
class Generation {
 public:
  Generation(Job* job, Model* model, const Tokenizer* tokenizer, int64_t chunk,
             GenerationObserver* observer, const std::atomic<bool>* shutdown)
      : request_(job->request),
        stream_(*job->stream),
        model_(*model),
        chunk_(chunk),
        observer_(*observer),
        shutdown_(*shutdown),
        sequence_(&job->request, tokenizer, model->info()) {}

  void Run() {
    finished_.usage.prompt_tokens = request_.prompt.size();
    const absl::Status status = Generate();
    finished_.usage.generated_tokens = sequence_.generated();
    FinishTimings();
    observer_.OnFinished(status, finished_, Seconds(Clock::now() - request_.arrival));
    stream_.Finish(status, finished_);
  }

 private:
  absl::Status Generate() {
    RETURN_IF_ERROR(CheckWanted());
    started_ = Clock::now();
    finished_.timings.queue = Seconds(*started_ - request_.arrival);
    observer_.OnStarted(finished_.timings.queue);
    ASSIGN_OR_RETURN(state_, model_.NewState());
    stream_.Start();
    ASSIGN_OR_RETURN(auto logits, Prefill());
    while (true) {
      RETURN_IF_ERROR(Accept(logits));
      if (sequence_.finish_reason()) {
        finished_.reason = *sequence_.finish_reason();
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(CheckWanted());
      const int32_t token = sequence_.last_token();
      ASSIGN_OR_RETURN(logits, Step({&token, 1}, LogitsOf::kLast));
    }
  }

  absl::StatusOr<kernels::MatrixView<const float>> Prefill() {
    std::span<const int32_t> rest = request_.prompt;
    while (static_cast<int64_t>(rest.size()) > chunk_) {
      RETURN_IF_ERROR(Step(rest.first(chunk_), LogitsOf::kNone).status());
      rest = rest.subspan(chunk_);
      RETURN_IF_ERROR(CheckWanted());
    }
    return Step(rest, LogitsOf::kLast);
  }

  absl::StatusOr<kernels::MatrixView<const float>> Step(std::span<const int32_t> tokens,
                                                        LogitsOf logits) {
    const engine::Run run{tokens, state_.get(), logits};
    const Clock::time_point begin = Clock::now();
    auto result = model_.Forward({&run, 1});
    observer_.OnStep(!last_token_, 1, tokens.size(), Seconds(Clock::now() - begin));
    return result;
  }

  // Chooses the next token and hands its output over.
  absl::Status Accept(kernels::MatrixView<const float> logits) {
    ASSIGN_OR_RETURN(Delta delta,
                     sequence_.Accept({logits.row(0), static_cast<size_t>(logits.cols)}));
    const Clock::time_point now = Clock::now();
    if (last_token_) {
      observer_.OnInterToken(Seconds(now - *last_token_));
    } else {
      first_token_ = now;
      observer_.OnFirstToken(Seconds(now - request_.arrival));
    }
    last_token_ = now;
    stream_.Append(std::move(delta));
    return absl::OkStatus();
  }

  // Whether someone still wants the result.
  absl::Status CheckWanted() {
    if (stream_.cancelled()) {
      finished_.reason = FinishReason::kCancelled;
      return absl::CancelledError("the client cancelled the request");
    }
    if (shutdown_.load(std::memory_order_relaxed)) {
      finished_.reason = FinishReason::kCancelled;
      return absl::UnavailableError("the server is shutting down");
    }
    if (Clock::now() >= request_.deadline) {
      finished_.reason = FinishReason::kDeadline;
      return absl::DeadlineExceededError(
          absl::StrCat("the request's deadline passed after ", sequence_.generated(), " tokens"));
    }
    return absl::OkStatus();
  }

  void FinishTimings() {
    Timings& timings = finished_.timings;
    if (!started_) timings.queue = Seconds(Clock::now() - request_.arrival);
    if (!first_token_) return;
    timings.prefill = Seconds(*first_token_ - *started_);
    timings.time_to_first_token = Seconds(*first_token_ - request_.arrival);
    timings.decode = Seconds(*last_token_ - *first_token_);
    if (sequence_.generated() > 1)
      timings.mean_inter_token = timings.decode / (sequence_.generated() - 1);
  }

  const GenerationRequest& request_;
  BufferedStream& stream_;
  Model& model_;
  const int64_t chunk_;
  GenerationObserver& observer_;
  const std::atomic<bool>& shutdown_;
  Sequence sequence_;
  std::unique_ptr<State> state_;
  Finished finished_;
  std::optional<Clock::time_point> started_, first_token_, last_token_;
};

class SerialGenerator : public Generator {
 public:
  SerialGenerator(Model* model, const Tokenizer* tokenizer, const GeneratorOptions& options,
                  GenerationObserver* observer)
      : model_(model),
        tokenizer_(tokenizer),
        options_(options),
        observer_(observer != nullptr ? observer : &null_observer_),
        thread_([this] { Loop(); }) {}

  ~SerialGenerator() override {
    {
      std::lock_guard lock(mutex_);
      draining_ = true;
      shutdown_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  absl::StatusOr<std::shared_ptr<GenerationStream>> Submit(
      GenerationRequest request, std::function<void()> on_ready) override {
    auto stream = std::make_shared<BufferedStream>(std::move(on_ready));
    std::lock_guard lock(mutex_);
    if (draining_)
      return absl::UnavailableError("the model takes no new requests: it is being drained");
    if (static_cast<int64_t>(queue_.size()) >= options_.max_waiting) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the queue is full: ", queue_.size(), " requests are waiting"));
    }
    queue_.push_back(Job{std::move(request), stream});
    wake_.notify_one();
    return stream;
  }

  void Drain() override {
    std::lock_guard lock(mutex_);
    draining_ = true;
  }

  int64_t running() const override {
    std::lock_guard lock(mutex_);
    return running_ ? 1 : 0;
  }

  int64_t waiting() const override {
    std::lock_guard lock(mutex_);
    return queue_.size();
  }

 private:
  // On shutdown the queue is still walked to its end: each request learns that it will not be
  // served.
  void Loop() {
    while (true) {
      std::optional<Job> job;
      {
        std::unique_lock lock(mutex_);
        running_ = false;
        wake_.wait(lock, [&] { return !queue_.empty() || shutdown_; });
        if (queue_.empty()) return;
        job = std::move(queue_.front());
        queue_.pop_front();
        running_ = true;
      }
      Generation(&*job, model_, tokenizer_, options_.prefill_chunk_tokens, observer_, &shutdown_)
          .Run();
    }
  }

  Model* const model_;
  const Tokenizer* const tokenizer_;
  const GeneratorOptions options_;
  NullObserver null_observer_;
  GenerationObserver* const observer_;
  std::atomic<bool> shutdown_{false};
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  bool running_ = false;
  bool draining_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Generator> MakeSerialGenerator(Model* model, const Tokenizer* tokenizer,
                                               const GeneratorOptions& options,
                                               GenerationObserver* observer) {
  return std::make_unique<SerialGenerator>(model, tokenizer, options, observer);
}

}  // namespace whipsnake::engine
