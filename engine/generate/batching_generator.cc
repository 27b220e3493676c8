#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/generate/batcher.h"
#include "engine/generate/generation.h"
#include "engine/generate/generator.h"

namespace whipsnake::engine {
namespace {

// Stands in where nobody observes.
class NullObserver : public GenerationObserver {
 public:
  void OnStarted(double) override {}
  void OnStep(const StepShape&, double) override {}
  void OnFirstToken(double) override {}
  void OnInterToken(double) override {}
  void OnFinished(const absl::Status&, const Finished&, double) override {}
};

// A generation's part of a step, and how its part went.
struct Member {
  Generation* generation;
  BatchShare share;
  absl::Status status;
};

StepShape ShapeOf(std::span<const Member> members) {
  StepShape shape;
  for (const Member& member : members) {
    if (member.share.prompt_tokens == 0) {
      ++shape.decoding;
    } else {
      ++shape.prefilling;
      shape.prompt_tokens += member.share.prompt_tokens;
    }
  }
  return shape;
}

// The batcher decides, under the lock; the generations compute, outside of it, on the one thread.
class BatchingGenerator : public Generator {
 public:
  BatchingGenerator(Model* model, const Tokenizer* tokenizer, const GeneratorOptions& options,
                    GenerationObserver* observer)
      : model_(*model),
        tokenizer_(tokenizer),
        observer_(observer != nullptr ? observer : &null_observer_),
        batcher_(options.batching),
        thread_([this] { Loop(); }) {}

  ~BatchingGenerator() override {
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
    BatchEntry entry{.prompt_tokens = std::ssize(request.prompt),
                     .priority = request.priority,
                     .client = request.client,
                     .arrival = request.arrival};
    // The tables of a sampler cost something: not under the lock.
    auto generation = std::make_unique<Generation>(std::move(request), stream, tokenizer_,
                                                   model_.info(), observer_);
    std::lock_guard lock(mutex_);
    if (draining_)
      return absl::UnavailableError("the model takes no new requests: it is being drained");
    entry.id = ++last_id_;
    RETURN_IF_ERROR(batcher_.Add(entry));
    generations_.emplace(entry.id, std::move(generation));
    wake_.notify_one();
    return stream;
  }

  void Drain() override {
    std::lock_guard lock(mutex_);
    draining_ = true;
  }

  int64_t running() const override {
    std::lock_guard lock(mutex_);
    return batcher_.running();
  }

  int64_t waiting() const override {
    std::lock_guard lock(mutex_);
    return batcher_.waiting();
  }

 private:
  using Ended = std::vector<std::pair<std::unique_ptr<Generation>, absl::Status>>;

  void Loop() {
    while (true) {
      Ended ended;
      std::vector<Member> members;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return !generations_.empty() || shutdown_; });
        if (generations_.empty()) return;
        ended = TakeUnwanted();
        for (const BatchShare& share : batcher_.Plan(Clock::now())) {
          members.push_back({generations_.at(share.id).get(), share, absl::OkStatus()});
        }
      }
      for (const auto& [generation, status] : ended) generation->Finish(status);
      StartMembers(members);
      Step(members);
      for (const auto& [generation, status] : TakeEnded(members)) generation->Finish(status);
    }
  }

  // Removes what nobody waits for any more, wherever it is. Requires mutex_.
  Ended TakeUnwanted() {
    const Clock::time_point now = Clock::now();
    Ended ended;
    for (auto it = generations_.begin(); it != generations_.end();) {
      const absl::Status status = shutdown_ ? absl::UnavailableError("the server is shutting down")
                                            : it->second->CheckWanted(now);
      if (status.ok()) {
        ++it;
        continue;
      }
      batcher_.Remove(it->first);
      ended.emplace_back(std::move(it->second), status);
      it = generations_.erase(it);
    }
    return ended;
  }

  // Gives the new ones their states. One that finds no memory waits until another has ended; if
  // there is no other, it fails.
  void StartMembers(std::vector<Member>& members) {
    const Clock::time_point now = Clock::now();
    for (Member& member : members) {
      if (!member.generation->started()) member.status = member.generation->Start(model_, now);
    }
    const auto without = std::ranges::count_if(
        members, [](const Member& m) { return absl::IsResourceExhausted(m.status); });
    std::lock_guard lock(mutex_);
    if (without == batcher_.running()) return;
    std::erase_if(members, [this](const Member& member) {
      if (!absl::IsResourceExhausted(member.status)) return false;
      batcher_.Postpone(member.share);
      return true;
    });
  }

  // One forward pass. Where a batch fails its members are tried one by one, so that only those fail
  // that cannot be computed: a failed pass has changed no state.
  void Step(std::span<Member> members) {
    std::vector<Run> runs;
    for (const Member& member : members) {
      if (!member.status.ok()) return Each(members);
      runs.push_back(member.generation->NextRun(member.share.prompt_tokens));
    }
    if (runs.empty()) return;
    const Clock::time_point begin = Clock::now();
    const auto logits = model_.Forward(runs);
    observer_->OnStep(ShapeOf(members),
                      std::chrono::duration<double>(Clock::now() - begin).count());
    if (!logits.ok()) {
      if (members.size() > 1) return Each(members);
      members.front().status = logits.status();
      return;
    }
    int64_t row = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      std::span<const float> own;
      if (runs[i].logits == LogitsOf::kLast) {
        own = {logits->row(row++), static_cast<size_t>(logits->cols)};
      }
      members[i].status = members[i].generation->Advance(members[i].share.prompt_tokens, own);
    }
  }

  void Each(std::span<Member> members) {
    for (size_t i = 0; i < members.size(); ++i) {
      if (members[i].status.ok()) Step(members.subspan(i, 1));
    }
  }

  Ended TakeEnded(std::span<const Member> members) {
    std::lock_guard lock(mutex_);
    Ended ended;
    for (const Member& member : members) {
      if (member.status.ok() && !member.generation->complete()) continue;
      const auto found = generations_.find(member.share.id);
      batcher_.Remove(member.share.id);
      ended.emplace_back(std::move(found->second), member.status);
      generations_.erase(found);
    }
    return ended;
  }

  Model& model_;
  const Tokenizer* const tokenizer_;
  NullObserver null_observer_;
  GenerationObserver* const observer_;
  mutable std::mutex mutex_;  // guards the following
  std::condition_variable wake_;
  Batcher batcher_;
  // Added to by anyone; touched otherwise by the thread alone.
  std::unordered_map<uint64_t, std::unique_ptr<Generation>> generations_;
  uint64_t last_id_ = 0;
  bool draining_ = false;
  bool shutdown_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Generator> MakeGenerator(Model* model, const Tokenizer* tokenizer,
                                         const GeneratorOptions& options,
                                         GenerationObserver* observer) {
  return std::make_unique<BatchingGenerator>(model, tokenizer, options, observer);
}

}  // namespace whipsnake::engine
