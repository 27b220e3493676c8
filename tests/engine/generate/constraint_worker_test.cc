// The worker of structured outputs: an error in one search ends only that search.
#include "engine/generate/constraint_worker.h"

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

class ConstraintWorkerTest : public testing::Test {
 protected:
  // A constraint that depends on many earlier letters, so that it is in a new state after each one.
  std::shared_ptr<Constraint> CompileCostly(std::shared_ptr<ConstraintMemory> memory) {
    auto constraint = Constraint::Compile({ConstraintSpec::Kind::kRegex, {"[ab]*a[ab]{500}"}},
                                          vocabulary_, {}, std::move(memory));
    EXPECT_TRUE(constraint.ok()) << constraint.status();
    return *std::move(constraint);
  }

  // Chooses up to `letters` letters, stopping at an error. Returns the last result.
  const absl::StatusOr<std::shared_ptr<const NextTokens>>& Choose(ConstrainedOutput& output,
                                                                  int letters) {
    output.StartSearch(kUnlimitedTokens);
    for (; letters > 0 && Await(output).ok(); --letters) {
      output.Advance(letters % 3 == 0 ? 1 : 0);
      output.StartSearch(kUnlimitedTokens);
    }
    return Await(output);
  }

  const absl::StatusOr<std::shared_ptr<const NextTokens>>& Await(ConstrainedOutput& output) {
    while (!output.ready()) found_.acquire();
    return output.next();
  }

  static constexpr int64_t kUnlimitedTokens = int64_t{1} << 30;
  const FakeTokenizer tokenizer_{{"a", "b", "aa", "ab", "ba", "bb"}};
  const std::shared_ptr<const VocabularyTrie> vocabulary_ =
      std::make_shared<const VocabularyTrie>(tokenizer_, tokenizer_.size());
  std::counting_semaphore<> found_{0};
  ConstraintWorker worker_{[this] { found_.release(); }};
};

TEST_F(ConstraintWorkerTest, ASearchThatRunsOutOfMemoryFailsAlone) {
  const int64_t compiled = CompileCostly(nullptr)->memory_bytes();
  auto memory = std::make_shared<ConstraintMemory>(compiled + 1024, nullptr);
  ThrowingReclaimer reclaimer;
  memory->shared.Register(&reclaimer);
  const auto constraint = CompileCostly(memory);
  ConstrainedOutput failing(constraint, &worker_), other(CompileCostly(nullptr), &worker_);
  const absl::Status status = Choose(failing, 400).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("regex: "));
  EXPECT_TRUE(Choose(other, 400).ok()) << Await(other).status();

  // The constraint is still usable once there is memory again.
  reclaimer.throws = false;
  ConstrainedOutput retry(constraint, &worker_);
  EXPECT_TRUE(Choose(retry, 3).ok()) << Await(retry).status();
  memory->shared.Unregister(&reclaimer);
}

}  // namespace
}  // namespace whipsnake::engine
