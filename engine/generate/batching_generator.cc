#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/executor.h"
#include "engine/base/mutex.h"
#include "engine/base/status.h"
#include "engine/generate/batcher.h"
#include "engine/generate/generation.h"
#include "engine/generate/generator.h"
#include "engine/generate/notifier.h"
#include "engine/generate/prefix_cache.h"
#include "kernels/cpu/parallel.h"

namespace whipsnake::engine {
namespace {

// Stands in where nobody observes.
class NullObserver : public GenerationObserver {
 public:
  void OnStarted(double) override {}
  void OnCacheLookup(bool) override {}
  void OnStep(const StepShape&, double) override {}
  void OnFirstToken(double) override {}
  void OnInterToken(double) override {}
  void OnFinished(const absl::Status&, const Finished&, double) override {}
};

// A sequence's part of a step, and how its part went.
struct Member {
  Generation* generation;
  int index;  // of the sequence in it
  BatchShare share;
  absl::Status status;

  bool has_run() const { return status.ok() && !generation->complete(index); }
};

StepShape ShapeOf(std::span<Member* const> members) {
  StepShape shape;
  for (const Member* member : members) {
    if (member->share.prompt_tokens == 0) {
      ++shape.decoding;
    } else {
      ++shape.prefilling;
      shape.prompt_tokens += member->share.prompt_tokens;
    }
  }
  return shape;
}

// The batcher decides, under the lock; the generations compute, outside of it, on the one thread. A
// generation's id is that of its first sequence, and the others' follow.
class BatchingGenerator : public Generator {
 public:
  BatchingGenerator(Model* model, const Tokenizer* tokenizer, const GeneratorOptions& options,
                    GenerationObserver* observer)
      : model_(*model),
        tokenizer_(tokenizer),
        options_(options),
        observer_(observer != nullptr ? observer : &null_observer_),
        cache_(options.cache),
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
    auto stream = std::make_shared<BufferedStream>(std::move(on_ready), &notifier_);
    // The tables of a sampler cost something: not under the lock.
    auto generation =
        std::make_unique<Generation>(std::move(request), stream, options_.max_unread_tokens,
                                     tokenizer_, &model_, &cache_, observer_);
    BatchEntry entry{.prompt_tokens = generation->prompt_left(),
                     .priority = generation->request().priority,
                     .client = generation->request().client,
                     .arrival = generation->request().arrival};
    MutexLock lock(mutex_);
    if (draining_)
      return absl::UnavailableError("the model takes no new requests: it is being drained");
    entry.id = next_id_;
    RETURN_IF_ERROR(batcher_.Add(entry));
    next_id_ += generation->sequences();
    generations_.emplace(entry.id, std::move(generation));
    wake_.NotifyOne();
    return stream;
  }

  void Drain() override {
    MutexLock lock(mutex_);
    draining_ = true;
  }

  GeneratorLoad load() const override {
    MutexLock lock(mutex_);
    return {.running = batcher_.running(),
            .max_running = options_.batching.max_running,
            .waiting = batcher_.waiting(),
            .state_bytes = state_bytes_,
            .cache_bytes = cache_.bytes(),
            .cache_entries = cache_.entries()};
  }

 private:
  using Generations = std::map<uint64_t, std::unique_ptr<Generation>>;
  using Ended = std::vector<std::pair<std::unique_ptr<Generation>, absl::Status>>;

  void Loop() {
    while (true) {
      Ended ended;
      std::vector<Member> members;
      {
        MutexLock lock(mutex_);
        while (generations_.empty() && !shutdown_) wake_.Wait(mutex_);
        if (generations_.empty()) return;
        ended = TakeUnwanted();
        for (const BatchShare& share : batcher_.Plan(Clock::now())) {
          const auto [id, generation] = Find(share.id);
          members.push_back({generation, static_cast<int>(share.id - id), share, {}});
        }
      }
      for (const auto& [generation, status] : ended) generation->Finish(status);
      PrepareMembers(members);
      Step(members);
      for (const auto& [generation, status] : TakeEnded(members)) generation->Finish(status);
    }
  }

  // The generation that a sequence belongs to.
  std::pair<uint64_t, Generation*> Find(uint64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto found = std::prev(generations_.upper_bound(id));
    return {found->first, found->second.get()};
  }

  void RemoveSequences(uint64_t id, const Generation& generation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (int index = 0; index < generation.sequences(); ++index) batcher_.Remove(id + index);
  }

  // Removes what nobody waits for any more, wherever it is.
  Ended TakeUnwanted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Clock::time_point now = Clock::now();
    Ended ended;
    for (auto it = generations_.begin(); it != generations_.end();) {
      const absl::Status status = shutdown_ ? absl::UnavailableError("the server is shutting down")
                                            : it->second->CheckWanted(now);
      if (status.ok()) {
        ++it;
        continue;
      }
      RemoveSequences(it->first, *it->second);
      ended.emplace_back(std::move(it->second), status);
      it = generations_.erase(it);
    }
    return ended;
  }

  // Gives the new ones their states. Those that find no memory wait until another has ended; if
  // there is no other that has some, they fail.
  void PrepareMembers(std::vector<Member>& members) {
    const Clock::time_point now = Clock::now();
    std::vector<BatchShare> without, found_in_cache;
    for (Member& member : members) {
      const bool started = member.generation->started();
      member.status = member.generation->Prepare(member.index, now);
      if (absl::IsResourceExhausted(member.status)) {
        without.push_back(member.share);
      } else if (!started && member.generation->cached_tokens() > 0) {
        found_in_cache.push_back(member.share);
      }
    }
    if (without.empty() && found_in_cache.empty()) return;
    MutexLock lock(mutex_);
    for (Member& member : members) {
      if (std::ranges::find(found_in_cache, member.share.id, &BatchShare::id) !=
          found_in_cache.end()) {
        member.share = batcher_.Skip(member.share, member.generation->cached_tokens());
      }
    }
    if (without.empty() || !batcher_.Postpone(without)) return;
    std::erase_if(members, [](const Member& m) { return absl::IsResourceExhausted(m.status); });
  }

  // One forward pass. Where a batch fails its members are tried one by one, so that only those fail
  // that cannot be computed: a failed pass has changed no state.
  void Step(std::span<Member> members) {
    std::vector<Run> runs;
    std::vector<Member*> running;
    for (Member& member : members) {
      if (!member.has_run()) continue;
      runs.push_back(member.generation->NextRun(member.index, member.share.prompt_tokens));
      running.push_back(&member);
    }
    if (runs.empty()) return;
    const Clock::time_point begin = Clock::now();
    const auto logits = model_.Forward(runs);
    observer_->OnStep(ShapeOf(running),
                      std::chrono::duration<double>(Clock::now() - begin).count());
    if (!logits.ok()) {
      if (running.size() > 1) return Each(members);
      running.front()->status = logits.status();
      return;
    }
    ChooseTokens(running, runs, *logits);
    for (const Member* member : running) {
      if (member->status.ok())
        member->generation->Advance(member->index, member->share.prompt_tokens);
    }
  }

  // Side by side where there are several: a vocabulary is long.
  void ChooseTokens(std::span<Member* const> members, std::span<const Run> runs,
                    kernels::MatrixView<const float> logits) {
    std::vector<std::span<const float>> rows(members.size());
    int64_t row = 0;
    for (size_t i = 0; i < members.size(); ++i) {
      if (runs[i].logits != LogitsOf::kLast) continue;
      rows[i] = {logits.row(row++), static_cast<size_t>(logits.cols)};
    }
    const auto choose = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Member& member = *members[i];
        member.status =
            member.generation->Choose(member.index, member.share.prompt_tokens, rows[i]);
      }
    };
    if (row < 2 || options_.executor == nullptr) return choose(0, std::ssize(members));
    options_.executor->Run(Priority::kDecode, [&] {
      const double nanoseconds = static_cast<double>(row * logits.cols);  // about one each
      kernels::ParallelRows(std::ssize(members), nanoseconds, choose);
    });
  }

  void Each(std::span<Member> members) {
    for (size_t i = 0; i < members.size(); ++i) Step(members.subspan(i, 1));
  }

  // After a step: new sequences begin, complete ones leave. Returns the generations that are over.
  Ended TakeEnded(std::span<const Member> members) {
    MutexLock lock(mutex_);
    Ended ended;
    for (const Member& member : members) {
      const auto found = generations_.find(member.share.id - member.index);
      if (found == generations_.end()) continue;  // another of its sequences has ended it
      Generation& generation = *member.generation;
      if (member.status.ok()) {
        if (member.share.prompt_tokens > 0 && generation.prompt_left() == 0) {
          BeginCompletions(found->first, generation);
        }
        if (generation.complete(member.index)) {
          generation.Leave(member.index);
          batcher_.Remove(member.share.id);
        }
        if (!generation.complete()) continue;
      }
      RemoveSequences(found->first, generation);
      ended.emplace_back(std::move(found->second), member.status);
      generations_.erase(found);
    }
    state_bytes_ = 0;
    for (const auto& [id, generation] : generations_) state_bytes_ += generation->state_bytes();
    return ended;
  }

  void BeginCompletions(uint64_t id, Generation& generation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (int index = 1; index < generation.sequences(); ++index) {
      if (generation.complete(index)) {
        generation.Leave(index);
      } else {
        batcher_.Fork(id, id + index);
      }
    }
  }

  Model& model_;
  const Tokenizer* const tokenizer_;
  const GeneratorOptions options_;
  NullObserver null_observer_;
  GenerationObserver* const observer_;
  PrefixCache cache_;
  Notifier notifier_;
  mutable Mutex mutex_;
  CondVar wake_;
  Batcher batcher_ ABSL_GUARDED_BY(mutex_);
  // Any thread adds a generation; only the loop's thread uses or removes one.
  Generations generations_ ABSL_GUARDED_BY(mutex_);
  int64_t state_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of them all
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Generator> MakeGenerator(Model* model, const Tokenizer* tokenizer,
                                         const GeneratorOptions& options,
                                         GenerationObserver* observer) {
  return std::make_unique<BatchingGenerator>(model, tokenizer, options, observer);
}

}  // namespace whipsnake::engine
