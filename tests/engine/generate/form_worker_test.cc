// The worker of structured outputs: an error in one search ends only that search.
#include "engine/generate/form_worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <new>
#include <semaphore>
#include <string>
#include <vector>

#include "tests/engine/fakes/fake_model.h"

namespace whipsnake::engine {
namespace {

// Simulates a system that runs out of memory when the ledger does.
class ThrowingReclaimer : public Reclaimer {
 public:
  int64_t Reclaim(int64_t) override {
    if (throws) throw std::bad_alloc();
    return 0;
  }

  std::atomic<bool> throws{true};
};

class FormWorkerTest : public testing::Test {
 protected:
  // A form that looks back over many letters, so that it is in a new state after each letter.
  std::shared_ptr<Constraint> Heavy(std::shared_ptr<FormMemory> memory) {
    auto form = Constraint::Compile({ConstraintSpec::Form::kRegex, {"[ab]*a[ab]{500}"}},
                                    vocabulary_, {}, std::move(memory));
    EXPECT_TRUE(form.ok()) << form.status();
    return *std::move(form);
  }

  // Chooses up to `letters` letters, stopping at an error. Returns the last result.
  const absl::StatusOr<std::shared_ptr<const NextTokens>>& Choose(FormedOutput& output,
                                                                  int letters) {
    output.Seek(kMuch);
    for (; letters > 0 && Await(output).ok(); --letters) {
      output.Advance(letters % 3 == 0 ? 1 : 0);
      output.Seek(kMuch);
    }
    return Await(output);
  }

  const absl::StatusOr<std::shared_ptr<const NextTokens>>& Await(FormedOutput& output) {
    while (!output.ready()) found_.acquire();
    return output.next();
  }

  static constexpr int64_t kMuch = int64_t{1} << 30;
  const FakeTokenizer tokenizer_{{"a", "b", "aa", "ab", "ba", "bb"}};
  const std::shared_ptr<const VocabularyTrie> vocabulary_ =
      std::make_shared<const VocabularyTrie>(tokenizer_, tokenizer_.size());
  std::counting_semaphore<> found_{0};
  FormWorker worker_{[this] { found_.release(); }};
};

TEST_F(FormWorkerTest, ASearchThatTheSystemHasNoMemoryForEndsAlone) {
  const int64_t compiled = Heavy(nullptr)->memory_bytes();
  auto memory = std::make_shared<FormMemory>(compiled + 1024, nullptr);
  ThrowingReclaimer reclaimer;
  memory->together.Register(&reclaimer);
  const auto form = Heavy(memory);
  FormedOutput failing(form, &worker_), other(Heavy(nullptr), &worker_);
  const absl::Status status = Choose(failing, 400).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("regex: "));
  EXPECT_TRUE(Choose(other, 400).ok()) << Await(other).status();

  // The form itself is still usable once there is memory again.
  reclaimer.throws = false;
  FormedOutput again(form, &worker_);
  EXPECT_TRUE(Choose(again, 3).ok()) << Await(again).status();
  memory->together.Unregister(&reclaimer);
}

}  // namespace
}  // namespace whipsnake::engine
