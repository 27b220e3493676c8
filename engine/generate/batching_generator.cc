#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/exceptions.h"
#include "engine/base/executor.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/generate/batcher.h"
#include "engine/generate/constraint_worker.h"
#include "engine/generate/generation.h"
#include "engine/generate/generator.h"
#include "engine/generate/notifier.h"
#include "engine/generate/prefix_cache.h"
#include "engine/generate/step_size.h"
#include "kernels/cpu/parallel.h"

namespace whipsnake::engine {
namespace {

// How often to check for returned memory, cancelled requests and passed deadlines while no sequence
// can run.
constexpr auto kRetryInterval = std::chrono::milliseconds(10);

// Used if there is no observer.
class NullObserver : public GenerationObserver {
 public:
  void OnStarted(double) override {}
  void OnCacheLookup(bool) override {}
  void OnStep(const StepShape&, double) override {}
  void OnFirstToken(double) override {}
  void OnInterToken(double) override {}
  void OnFinished(const absl::Status&, const Finished&, double) override {}
};

// A sequence's part of a step, and its outcome.
struct StepMember {
  Generation* generation;
  int index;  // of the sequence in the generation
  BatchShare share;
  bool reading_prompt = false;
  absl::Status status = {};

  bool participates() const { return status.ok() && !generation->complete(index); }
};

StepShape ShapeOf(std::span<StepMember* const> members) {
  StepShape shape;
  for (const StepMember* member : members) {
    if (member->share.prompt_tokens == 0) {
      ++shape.decoding;
    } else {
      ++shape.prefilling;
      shape.prompt_tokens += member->share.prompt_tokens;
    }
  }
  return shape;
}

// The batcher plans the steps under the lock; the generations compute outside of it, on the
// generator's thread. A generation has the id of its first sequence, and its other sequences have
// the ids that follow.
class BatchingGenerator : public Generator {
 public:
  // The model must have reserved the workspace for the largest step of the options.
  BatchingGenerator(Model* model, const Tokenizer* tokenizer, const GeneratorOptions& options,
                    GenerationObserver* observer)
      : model_(*model),
        options_(options),
        available_bytes_(options.ledger == nullptr || options.ledger->limit() == 0
                             ? std::numeric_limits<int64_t>::max()
                             : options.ledger->limit() - model->info().weights_bytes -
                                   model->WorkspaceBytes(LargestStep(options.batching))),
        observer_(observer != nullptr ? observer : &null_observer_),
        cache_(options.cache),
        environment_{*tokenizer,
                     *model,
                     cache_,
                     constraint_worker_,
                     *observer_,
                     options_.ledger,
                     options_.max_unread_tokens},
        batcher_(options.batching) {
    if (options_.ledger != nullptr) options_.ledger->Register(&cache_);
    thread_ = std::thread([this] { Loop(); });
  }

  ~BatchingGenerator() override {
    {
      MutexLock lock(mutex_);
      draining_ = true;
      shutdown_ = true;
    }
    wake_.NotifyOne();
    thread_.join();
    if (options_.ledger != nullptr) options_.ledger->Unregister(&cache_);
  }

  absl::StatusOr<std::shared_ptr<GenerationStream>> Submit(
      GenerationRequest request, std::function<void()> on_ready) override {
    RETURN_IF_ERROR(CheckFitsAlone(request));
    Reservation booked;
    if (options_.ledger != nullptr) {
      ASSIGN_OR_RETURN(booked, options_.ledger->Reserve(WaitingBytes(request), Purpose::kRequests,
                                                        "a waiting request"));
    }
    auto stream = std::make_shared<BufferedStream>(std::move(on_ready), &notifier_);
    auto generation =
        std::make_unique<Generation>(std::move(request), stream, std::move(booked), environment_);
    BatchEntry entry{.prompt_tokens = generation->prompt_left(),
                     .priority = generation->request().priority,
                     .client = generation->request().client,
                     .arrival = generation->request().arrival};
    MutexLock lock(mutex_);
    if (draining_)
      return absl::UnavailableError("the model takes no new requests: it is being drained");
    if (queue_bytes_ > 0 && queue_bytes_ + generation->waiting_bytes() > MaxQueueBytes()) {
      return absl::ResourceExhaustedError(absl::StrCat("the queue is full: its requests take ",
                                                       queue_bytes_, " bytes, at most ",
                                                       MaxQueueBytes(), " are allowed"));
    }
    entry.id = next_id_;
    RETURN_IF_ERROR(batcher_.Add(entry));
    next_id_ += generation->sequences();
    queue_bytes_ += generation->waiting_bytes();
    generations_.emplace(entry.id, std::move(generation));
    PublishLoad();
    wake_.NotifyOne();
    return stream;
  }

  void SetQueueLimits(const QueueLimits& limits) override {
    MutexLock lock(mutex_);
    batcher_.SetQueueLimits(limits);
  }

  void Drain() override {
    MutexLock lock(mutex_);
    draining_ = true;
  }

  GeneratorLoad load() const override {
    return {.running = running_.load(std::memory_order_relaxed),
            .max_running = options_.batching.max_running,
            .waiting = waiting_.load(std::memory_order_relaxed),
            .state_bytes = state_bytes_.load(std::memory_order_relaxed),
            .cache_bytes = cache_.bytes(),
            .cache_entries = cache_.entries()};
  }

 private:
  using Generations = std::map<uint64_t, std::unique_ptr<Generation>>;
  using EndedGenerations = std::vector<std::pair<std::unique_ptr<Generation>, absl::Status>>;

  void Loop() {
    while (true) {
      EndedGenerations ended;
      std::vector<StepMember> members;
      {
        MutexLock lock(mutex_);
        while (generations_.empty() && !shutdown_) wake_.Wait(mutex_);
        if (stalled_ && !shutdown_) wake_.WaitUntil(mutex_, Clock::now() + kRetryInterval);
        if (generations_.empty()) return;
        ended = RemoveUnwanted();
        for (const BatchShare& share :
             batcher_.Plan(Clock::now(), [this](uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
               return IsReady(id);
             })) {
          const auto [id, generation] = FindGeneration(share.id);
          members.push_back({.generation = generation,
                             .index = static_cast<int>(share.id - id),
                             .share = share,
                             .reading_prompt = generation->prompt_left() > 0});
        }
        PublishLoad();
        // All sequences wait for their allowed tokens. They may be cancelled or pass their
        // deadlines in the meantime.
        if (members.empty() && ended.empty()) {
          wake_.WaitUntil(mutex_, Clock::now() + kRetryInterval);
          continue;
        }
      }
      for (const auto& [generation, status] : ended) generation->Finish(status);
      PrepareMembers(members);
      Step(members);
      for (const auto& [generation, status] : RemoveEnded(members)) generation->Finish(status);
    }
  }

  // Shows what has changed to load(), which must not wait for a step to be planned.
  void PublishLoad() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    running_.store(batcher_.running(), std::memory_order_relaxed);
    waiting_.store(batcher_.waiting(), std::memory_order_relaxed);
  }

  // The generation that a sequence belongs to, with the generation's id.
  std::pair<uint64_t, Generation*> FindGeneration(uint64_t id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = std::prev(generations_.upper_bound(id));
    return {found->first, found->second.get()};
  }

  bool IsReady(uint64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto [first, generation] = FindGeneration(id);
    return generation->ready(static_cast<int>(id - first));
  }

  std::unique_ptr<Generation> RemoveGeneration(Generations::iterator found)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::unique_ptr<Generation> generation = std::move(found->second);
    for (int index = 0; index < generation->sequences(); ++index) {
      batcher_.Remove(found->first + index);
      shortage_since_.erase(found->first + index);
    }
    queue_bytes_ -= generation->waiting_bytes();
    generations_.erase(found);
    return generation;
  }

  // The most memory that all requests together hold from their arrival on, unless there is only one
  // request. The rest is available to each of them when no other runs.
  int64_t MaxQueueBytes() const { return available_bytes_ / 8; }

  absl::Status CheckFitsAlone(const GenerationRequest& request) const {
    const int64_t max_bytes = available_bytes_ - MaxQueueBytes();
    const int64_t bytes =
        WaitingBytes(request) + MinStateBytes(request, model_) +
        RunningBytes(request, model_.info()) +
        OutputBytes(request, MaxOutputTokens(request), options_.max_unread_tokens);
    if (bytes <= max_bytes) return absl::OkStatus();
    return InvalidField(
        "stopping.max_new_tokens",
        absl::StrCat(request.max_new_tokens, " tokens for each of ", request.completions,
                     " completions and a prompt of ", request.prompt.size(), " tokens, in all ",
                     bytes, " bytes of memory"),
        absl::StrCat("at most ", max_bytes, " bytes, the memory left beside the model"));
  }

  // Removes the generations that are no longer wanted, whether they wait or run; all of them on
  // shutdown.
  EndedGenerations RemoveUnwanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Clock::time_point now = Clock::now();
    EndedGenerations ended;
    for (auto it = generations_.begin(); it != generations_.end();) {
      const absl::Status status = shutdown_ ? absl::UnavailableError("the server is shutting down")
                                            : it->second->CheckWanted(now);
      if (status.ok()) {
        ++it;
        continue;
      }
      ended.emplace_back(RemoveGeneration(it++), status);
    }
    return ended;
  }

  // Gives each member its state. Members that find no memory wait until another sequence has ended
  // or made room for them. A member that has found none for memory_timeout, while no other
  // sequence holds any, fails.
  void PrepareMembers(std::vector<StepMember>& members) {
    const Clock::time_point now = Clock::now();
    std::vector<BatchShare> postponed;
    std::erase_if(members, [&](const StepMember& member) { return RestartIfStateLost(member); });
    for (size_t i = 0; i < members.size(); ++i) {
      absl::StatusOr<int64_t> tokens_seen =
          members[i].generation->PrepareState(members[i].index, now);
      while (absl::IsResourceExhausted(tokens_seen.status()) && MakeRoomFor(i, members)) {
        tokens_seen = members[i].generation->PrepareState(members[i].index, now);
      }
      StepMember& member = members[i];
      member.status = tokens_seen.status();
      if (absl::IsResourceExhausted(member.status)) postponed.push_back(member.share);
      if (tokens_seen.ok()) shortage_since_.erase(member.share.id);
      if (!tokens_seen.ok() || *tokens_seen == 0) continue;
      MutexLock lock(mutex_);
      member.share = batcher_.Skip(member.share, *tokens_seen);
    }
    std::erase_if(members, [&](const StepMember& member) { return UndoShareIfNotReady(member); });
    if (postponed.empty()) {
      stalled_ = false;
      return;
    }
    MutexLock lock(mutex_);
    stalled_ = !batcher_.Postpone(postponed);
    const uint64_t failing = stalled_ ? LastTimedOut(postponed, now) : 0;
    std::erase_if(members, [&](const StepMember& member) {
      return absl::IsResourceExhausted(member.status) && member.share.id != failing;
    });
  }

  // Called if no other sequence has memory to return. Of the sequences that found no memory,
  // returns the last one that has waited for memory_timeout, or 0.
  uint64_t LastTimedOut(std::span<const BatchShare> postponed, Clock::time_point now) {
    uint64_t last = 0;
    for (const BatchShare& share : postponed) {
      const Clock::time_point since = shortage_since_.try_emplace(share.id, now).first->second;
      if (now - since >= options_.memory_timeout) last = std::max(last, share.id);
    }
    return last;
  }

  // Restarts a sequence that was planned for a decode step but has lost its state. Returns whether
  // it did.
  bool RestartIfStateLost(const StepMember& member) {
    const Generation& generation = *member.generation;
    if (member.share.prompt_tokens > 0 || !generation.needs_replay(member.index)) return false;
    MutexLock lock(mutex_);
    batcher_.Restart(member.share.id, generation.length(member.index));
    return true;
  }

  // Takes a sequence out of the step that has just started and whose first allowed tokens are not
  // known yet. Returns whether it did.
  bool UndoShareIfNotReady(const StepMember& member) {
    if (!member.status.ok() || member.generation->ready(member.index)) return false;
    MutexLock lock(mutex_);
    batcher_.UndoShare(member.share);
    return true;
  }

  // For a sequence that is to start: makes one of the sequences that must yield to it give up its
  // state, and takes that one out of the step. Returns false if there is none.
  bool MakeRoomFor(size_t& starting, std::vector<StepMember>& members) {
    if (members[starting].generation->started()) return false;
    MutexLock lock(mutex_);
    for (const uint64_t id : batcher_.SequencesYieldingTo(members[starting].share.id)) {
      const auto [first, generation] = FindGeneration(id);
      const auto index = static_cast<int>(id - first);
      if (!generation->ReleaseState(index)) continue;
      // A sequence that has not run since the prompt takes another copy of the prompt's state
      // later.
      batcher_.Restart(id, generation->needs_replay(index) ? generation->length(index) : 0);
      const auto planned =
          std::ranges::find(members, id, [](const StepMember& m) { return m.share.id; });
      if (planned != members.end()) {
        if (planned - members.begin() < static_cast<ptrdiff_t>(starting)) --starting;
        members.erase(planned);
      }
      return true;
    }
    return false;
  }

  // Runs one forward pass. If a batch fails, its members are run one by one, so that only those
  // that cannot be computed fail. A failed pass has changed no state, unless it was aborted.
  // NOLINTNEXTLINE(misc-no-recursion): StepOneByOne passes one member, which ends the recursion.
  void Step(std::span<StepMember> members) {
    std::vector<Run> runs;
    std::vector<StepMember*> running;
    for (StepMember& member : members) {
      if (!member.participates()) continue;
      runs.push_back(member.generation->NextRun(member.index, member.share.prompt_tokens));
      running.push_back(&member);
    }
    if (runs.empty()) return;
    const Clock::time_point begin = Clock::now();
    const auto logits = model_.Forward(runs);
    observer_->OnStep(ShapeOf(running),
                      std::chrono::duration<double>(Clock::now() - begin).count());
    if (!logits.ok()) {
      if (running.size() > 1 && !absl::IsAborted(logits.status())) return StepOneByOne(members);
      for (StepMember* member : running) member->status = logits.status();
      if (absl::IsAborted(logits.status())) {
        for (StepMember* member : running) {
          member->status = absl::InternalError(logits.status().message());
        }
      }
      return;
    }
    ChooseTokens(running, runs, *logits);
    for (const StepMember* member : running) {
      if (member->status.ok())
        member->generation->Advance(member->index, member->share.prompt_tokens);
    }
  }

  // Chooses in parallel if there are several members, as the vocabulary is large.
  void ChooseTokens(std::span<StepMember* const> members, std::span<const Run> runs,
                    kernels::MatrixView<const float> logits) {
    std::vector<std::span<const float>> rows(members.size());
    int64_t row = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      if (runs[i].logits != LogitsOf::kLast) continue;
      rows[i] = {logits.row(row++), static_cast<size_t>(logits.cols)};
    }
    const auto choose = [&](const kernels::Context&, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        StepMember& member = *members[i];
        member.status =
            CatchExceptions([&] { return member.generation->ChooseTokens(member.index, rows[i]); });
      }
    };
    if (row < 2 || options_.executor == nullptr) return choose({}, 0, std::ssize(members));
    options_.executor->Run(Priority::kDecode, [&](const kernels::Context& context) {
      const double nanoseconds = static_cast<double>(row * logits.cols);  // about one per logit
      kernels::ParallelRows(context, std::ssize(members), nanoseconds, choose);
    });
  }

  // NOLINTNEXTLINE(misc-no-recursion): see Step.
  void StepOneByOne(std::span<StepMember> members) {
    for (size_t i = 0; i < members.size(); ++i) Step(members.subspan(i, 1));
  }

  // Called after a step: starts new sequences, removes complete ones, and returns the generations
  // that have ended.
  EndedGenerations RemoveEnded(std::span<const StepMember> members) {
    MutexLock lock(mutex_);
    EndedGenerations ended;
    for (const StepMember& member : members) {
      const auto found = generations_.find(member.share.id - member.index);
      if (found == generations_.end()) continue;  // ended by another of its sequences
      Generation& generation = *member.generation;
      if (member.status.ok()) {
        if (member.reading_prompt && generation.prompt_left() == 0) {
          BeginCompletions(found->first, generation);
        }
        if (generation.complete(member.index)) {
          generation.StoreState(member.index);
          batcher_.Remove(member.share.id);
        }
        if (!generation.complete()) continue;
      }
      ended.emplace_back(RemoveGeneration(found), member.status);
    }
    int64_t state_bytes = 0;
    for (const auto& [id, generation] : generations_) state_bytes += generation->state_bytes();
    state_bytes_.store(state_bytes, std::memory_order_relaxed);
    PublishLoad();
    return ended;
  }

  void BeginCompletions(uint64_t id, Generation& generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (int index = 1; index < generation.sequences(); ++index) {
      if (generation.complete(index)) {
        generation.StoreState(index);
      } else {
        batcher_.Fork(id, id + index);
      }
    }
  }

  Model& model_;
  const GeneratorOptions options_;
  const int64_t available_bytes_;  // bytes beside weights and workspace; the cache yields its part
  NullObserver null_observer_;
  GenerationObserver* const observer_;
  PrefixCache cache_;
  Notifier notifier_;
  mutable Mutex mutex_;
  CondVar wake_;
  ConstraintWorker constraint_worker_{[this] {
    MutexLock lock(mutex_);
    wake_.NotifyOne();
  }};
  const GenerationEnvironment environment_;
  Batcher batcher_ ABSL_GUARDED_BY(mutex_);
  // Any thread may add a generation; only the loop's thread uses or removes one.
  Generations generations_ ABSL_GUARDED_BY(mutex_);
  int64_t queue_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // waiting_bytes() of all generations
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
  // Of load().
  std::atomic<int64_t> running_ = 0, waiting_ = 0;
  std::atomic<int64_t> state_bytes_ = 0;  // of all generations
  // Used only by the loop's thread: whether sequences lack memory and no other has any to return,
  // and since when each of them has found none in such a moment. Other sequences that run in
  // between do not restart that time.
  bool stalled_ = false;
  std::map<uint64_t, Clock::time_point> shortage_since_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Generator>> MakeGenerator(Model* model, const Tokenizer* tokenizer,
                                                         const GeneratorOptions& options,
                                                         GenerationObserver* observer) {
  GeneratorOptions fitting = options;
  ASSIGN_OR_RETURN(fitting.batching, FitSteps(options.batching, *model, options.ledger));
  return std::make_unique<BatchingGenerator>(model, tokenizer, fitting, observer);
}

}  // namespace whipsnake::engine
