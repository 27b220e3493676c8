// Promotions of jobs whose files go away meanwhile.
#include "server/jobs/promotion.h"

#include <filesystem>
#include <fstream>

#include "engine/base/disk_full.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "tests/engine/base/support.h"
#include "tests/server/map_store.h"
#include "tests/server/support.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using engine::Fails;
using engine::IsOk;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr char kUid[] = "ft-1";

class PromotionTest : public testing::Test {
 protected:
  PromotionTest() {
    for (const char* name : {"jobs", "models"}) fs::create_directory(directory_ / name);
    MakeModel(kind_.ResultDirectory(kUid));
    EXPECT_THAT(versions_.Open({}), IsOk());
  }

  static void MakeModel(const fs::path& path) {
    fs::create_directories(path);
    for (const char* name : {"config.json", "model.safetensors"}) std::ofstream(path / name) << "x";
  }
  static std::vector<std::string> NamesIn(const fs::path& path) {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), path));
    }
    return names;
  }
  // The directory of the promotion that runs.
  fs::path Work() const {
    for (const auto& entry : fs::directory_iterator(directory_ / "jobs")) {
      if (entry.path().filename().string().starts_with("promotion-")) return entry.path();
    }
    return "";
  }

  absl::StatusOr<Job> FindJob(const std::string& id) {
    ++looks_;
    if (on_look) on_look();
    if (job_.id != id) return absl::NotFoundError("no job " + id);
    return job_;
  }
  absl::StatusOr<ModelVersion> Promote(int64_t step = 0, const std::string& etag = "") {
    const Promoter promoter(
        &kind_, &versions_, [this](const std::string& id) { return FindJob(id); },
        [this] { return after_start ? after_start() : absl::OkStatus(); }, {});
    return promoter.Promote(
        {.job = "tuned", .step = step, .promotion = {.name = "m", .directory = "", .etag = etag}});
  }

  const engine::TemporaryDirectory directory_;
  MapStore store_;
  FakeEngine engine_;
  Metrics metrics_;
  ModelRegistry registry_{engine_.Loader(), metrics_,
                          [](const std::string&, std::optional<ModelState>) {}};
  ModelVersions versions_{
      &store_, &registry_, {.directory = directory_ / "models", .model_root = ""}};
  FineTuningKind kind_{{.directory = directory_ / "jobs"}};
  Job job_{.kind = "fine-tuning", .id = "tuned", .uid = kUid, .state = JobState::kSucceeded};
  int looks_ = 0;
  std::function<void()> on_look;
  std::function<absl::Status()> after_start;
};

TEST_F(PromotionTest, TheJobMayBeDeletedOnceItHasBegun) {
  after_start = [this] {
    kind_.RemoveFiles(kUid);
    return absl::OkStatus();
  };
  const auto version = Promote();
  ASSERT_THAT(version, IsOk());
  EXPECT_EQ(version->source_job, "tuned");
  EXPECT_TRUE(version->serves);
  EXPECT_THAT(NamesIn(directory_ / "jobs"), IsEmpty());
  EXPECT_EQ(NamesIn(directory_ / "models").size(), 2) << "the version's files";
}

TEST_F(PromotionTest, ACheckpointAndTheVersionItBeganWithMayBeDeletedToo) {
  const std::string base = directory_ / "models/version-0123456789abcdef0123456789abcdef";
  MakeModel(base);
  MakeModel(kind_.CheckpointDirectory(kUid, 8));
  job_.state = JobState::kRunning;
  job_.details["model_directory"] = base;
  std::vector<std::string> kept;
  after_start = [&] {
    fs::remove_all(base);
    fs::remove_all(kind_.CheckpointDirectory(kUid, 8));
    kept = NamesIn(Work());
    return absl::CancelledError("seen enough");
  };
  EXPECT_THAT(Promote(8), Fails(absl::StatusCode::kCancelled, "seen enough"));
  EXPECT_THAT(kept, UnorderedElementsAre("base/config.json", "base/model.safetensors",
                                         "checkpoint/config.json", "checkpoint/model.safetensors"));
  EXPECT_EQ(Work(), "") << "nothing is left of a promotion that failed";
}

TEST_F(PromotionTest, WhatGoesAwayAtTheStartIsLookedUpOnceMore) {
  const fs::path result = kind_.ResultDirectory(kUid), away = directory_ / "away";
  fs::rename(result, away);
  on_look = [&] {
    if (looks_ == 2) fs::rename(away, result);
  };
  EXPECT_THAT(Promote(), IsOk());
  EXPECT_EQ(looks_, 2);

  fs::rename(result, away);
  on_look = nullptr;
  looks_ = 0;
  EXPECT_THAT(Promote(), Fails(absl::StatusCode::kNotFound, "the result of job tuned is gone"));
  EXPECT_EQ(looks_, 2);
  const absl::Status no_checkpoint = Promote(3).status();
  EXPECT_THAT(no_checkpoint, Fails(absl::StatusCode::kNotFound, "no checkpoint of step 3"));
  EXPECT_EQ(ReasonOf(no_checkpoint), "CHECKPOINT_NOT_FOUND");

  looks_ = 0;
  on_look = [&] {
    if (looks_ == 2) job_.id = "another";
  };
  EXPECT_THAT(Promote(), Fails(absl::StatusCode::kNotFound, "no job tuned"));
}

TEST_F(PromotionTest, AnOldEtagAndAFullNameAreRefusedBeforeAnyWork) {
  ASSERT_THAT(Promote(), IsOk());
  looks_ = 0;
  EXPECT_EQ(ReasonOf(Promote(0, "no").status()), "ETAG_MISMATCH");
  std::vector<Write> writes;
  for (size_t i = 2; i <= ModelVersions::kMaxVersionsOfName; ++i) {
    writes.push_back(CreateRecord{Collection::kModelVersions, absl::StrCat("m:", i), "m", "{}"});
  }
  ASSERT_THAT(store_.Commit(writes), IsOk());
  EXPECT_EQ(ReasonOf(Promote().status()), "TOO_MANY_VERSIONS");
  EXPECT_EQ(looks_, 0);
}

TEST_F(PromotionTest, AFullDiskChangesNothingAndTheNextPromotionSucceeds) {
  ASSERT_THAT(Promote(), IsOk());
  const std::vector<std::string> before = NamesIn(directory_ / "models");
  store_.error = engine::DiskFullError("the database or disk is full");
  const absl::Status refused = Promote().status();
  EXPECT_THAT(refused, Fails(absl::StatusCode::kResourceExhausted, ""));
  EXPECT_EQ(ReasonOf(refused), "STORAGE_FULL");
  EXPECT_EQ(NamesIn(directory_ / "models"), before);
  EXPECT_EQ(Work(), "");
  store_.error = absl::OkStatus();
  const auto next = Promote();
  ASSERT_THAT(next, IsOk());
  EXPECT_TRUE(next->serves);
}

TEST_F(PromotionTest, AStartRemovesWhatAKilledPromotionLeft) {
  const fs::path jobs = directory_ / "jobs";
  for (const char* left : {"promotion-0123456789abcdef/float", "ft-1/promotion-0123/quantized"}) {
    MakeModel(jobs / left);
  }
  MakeModel(kind_.CheckpointDirectory(kUid, 8));
  MakeModel(kind_.ResultDirectory("ft-2"));
  kind_.Sweep({kUid});
  EXPECT_THAT(NamesIn(jobs),
              UnorderedElementsAre("ft-1/result/config.json", "ft-1/result/model.safetensors",
                                   "ft-1/checkpoints/step-00000008/config.json",
                                   "ft-1/checkpoints/step-00000008/model.safetensors"));
}

}  // namespace
}  // namespace whipsnake::server
