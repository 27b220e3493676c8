#include "server/jobs/job_file_remover.h"

#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

// Removals on other threads than the test's wait at a gate.
class SlowKind final : public JobKind {
 public:
  std::string_view name() const override { return "slow"; }
  std::string_view id_prefix() const override { return "slow"; }
  bool IsValid(const nlohmann::json&) const override { return true; }
  absl::Status Prepare(const Job&, JobRun&, Preparation&) override { return absl::OkStatus(); }
  absl::StatusOr<nlohmann::json> Run(const Job&, JobRun&) override { return nlohmann::json(); }
  void RemoveFiles(const std::string& uid) override {
    if (std::this_thread::get_id() != test_) gate.Pass();
    std::lock_guard lock(mutex_);
    removed_.insert(uid);
  }
  void Sweep(const std::set<std::string>&) override {}

  std::set<std::string> removed() {
    std::lock_guard lock(mutex_);
    return removed_;
  }
  Gate gate;

 private:
  const std::thread::id test_ = std::this_thread::get_id();
  std::mutex mutex_;
  std::set<std::string> removed_;
};

TEST(JobFileRemoverTest, WhoDeletesTooFastRemovesTheFilesHimself) {
  SlowKind kind;
  kind.gate.Close();
  JobFileRemover files;
  files.Remove(kind, "first");
  kind.gate.WaitForArrivals(1);
  for (size_t i = 0; i < JobFileRemover::kMaxWaiting; ++i) {
    files.Remove(kind, absl::StrCat("waits-", i));
  }
  EXPECT_TRUE(kind.removed().empty());
  files.Remove(kind, "last");
  EXPECT_EQ(kind.removed(), std::set<std::string>{"last"});
  kind.gate.Open();
  kind.gate.WaitForArrivals(static_cast<int>(JobFileRemover::kMaxWaiting) + 1);
}

}  // namespace
}  // namespace whipsnake::server
