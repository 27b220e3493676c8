// Shared by the generator's tests: a generator with a fake model, and a collector of a stream's
// events.
#ifndef WHIPSNAKE_TESTS_ENGINE_GENERATE_SUPPORT_H_
#define WHIPSNAKE_TESTS_ENGINE_GENERATE_SUPPORT_H_

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <limits>
#include <memory>
#include <semaphore>
#include <string>
#include <utility>
#include <vector>

#include "engine/generate/generator.h"
#include "tests/engine/fakes/fake_model.h"

namespace whipsnake::engine {

// Collects everything that one stream delivers. Waits without sleeping.
class Collector {
 public:
  std::function<void()> on_ready() {
    return [this] { ready_.release(); };
  }
  void Watch(std::shared_ptr<GenerationStream> stream) { stream_ = std::move(stream); }

  // Takes events until the last one.
  const GenerationStream::Event& Wait() {
    while (!last_.done) {
      ready_.acquire();
      last_ = stream_->Take();
      started_ += last_.started ? 1 : 0;
      for (const Delta& delta : last_.deltas) {
        if (delta.index >= std::ssize(completions_)) completions_.resize(delta.index + 1);
        auto& [text, ids] = completions_[delta.index];
        text += delta.text;
        ids.insert(ids.end(), delta.token_ids.begin(), delta.token_ids.end());
      }
    }
    return last_;
  }
  FinishReason reason() { return Wait().finished.reason; }

  const std::string& text(int index = 0) const { return completions_[index].first; }
  const std::vector<int32_t>& ids(int index = 0) const { return completions_[index].second; }
  int started() const { return started_; }
  GenerationStream& stream() { return *stream_; }

 private:
  std::counting_semaphore<> ready_{0};
  std::shared_ptr<GenerationStream> stream_;
  GenerationStream::Event last_;
  std::vector<std::pair<std::string, std::vector<int32_t>>> completions_{1};
  int started_ = 0;
};

class GeneratorTest : public ::testing::Test {
 protected:
  GeneratorTest() : tokenizer_({"a", "b", "c", "d", "\xe2\x82", "\xac", "g", "<eos>"}), model_(8) {}

  // Steps of the fake model take no time, so any reader is slow in comparison.
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  void Start(GeneratorOptions options = {.max_unread_tokens = kUnlimited}) {
    auto generator = MakeGenerator(&model_, &tokenizer_, options, nullptr);
    ASSERT_TRUE(generator.ok()) << generator.status();
    generator_ = *std::move(generator);
  }

  static GenerationRequest Request(std::vector<int32_t> prompt, int64_t max_new_tokens) {
    GenerationRequest request;
    request.prompt = std::move(prompt);
    request.sampling.temperature = 0;
    request.max_new_tokens = max_new_tokens;
    return request;
  }

  void Submit(Collector& collector, GenerationRequest request) {
    auto stream = generator_->Submit(std::move(request), collector.on_ready());
    ASSERT_TRUE(stream.ok()) << stream.status();
    collector.Watch(*std::move(stream));
  }

  // The first pass counts down `busy_` and waits for `release_`.
  void HoldFirstPass() {
    model_.before_forward = [this](std::span<const engine::Run>) {
      if (!first_.exchange(false)) return;
      busy_.count_down();
      release_.wait();
    };
  }

  std::latch busy_{1}, release_{1};
  std::atomic<bool> first_{true};
  FakeTokenizer tokenizer_;
  FakeModel model_;
  std::unique_ptr<Generator> generator_;
};

// Records the number of tokens of each run in each pass.
class PassRecorder {
 public:
  explicit PassRecorder(FakeModel& model) {
    model.before_forward = [this](std::span<const engine::Run> runs) {
      std::vector<size_t>& pass = passes_.emplace_back();
      for (const engine::Run& run : runs) pass.push_back(run.tokens.size());
    };
  }
  std::vector<std::vector<size_t>> Take() { return std::exchange(passes_, {}); }

 private:
  std::vector<std::vector<size_t>> passes_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_TESTS_ENGINE_GENERATE_SUPPORT_H_
