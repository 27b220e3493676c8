// The SQLite store on a disk that fails and in a machine that stops.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "server/errors.h"
#include "server/store/sqlite_store.h"
#include "tests/server/faulty_disk.h"
#include "tests/server/faulty_vfs.h"
#include "tests/server/store_conformance.h"
#include "tests/server/store_model.h"

namespace whipsnake::server {
namespace {

using testing::AnyOf;
using testing::ContainerEq;
using testing::Contains;
using testing::HasSubstr;

using Loss = FaultyDisk::Loss;

bool IsInDoubt(const absl::Status& status) {
  return ToGrpc(status).error_details().find("COMMIT_IN_DOUBT") != std::string::npos;
}

class FaultyBackend final : public StoreBackend {
 public:
  absl::StatusOr<std::unique_ptr<Store>> Open() override {
    if (!disk_.runs()) disk_.Start(static_cast<Loss>(disk_.random()() % 3));
    return SqliteStore::Open("store.db",
                             {.sqlite = {.vfs = vfs_.name()}, .now = clock().function()});
  }
  bool can_crash() const override { return true; }
  void Crash() override { disk_.Stop(); }
  bool can_fail() const override { return true; }
  void Fail(Fault fault, int64_t n) override {
    disk_.Fail({.error = fault == Fault::kDiskFull ? ENOSPC : EIO, .first = n});
  }
  bool EndFault() override { return disk_.EndFault(); }

 private:
  FaultyDisk disk_{1};
  FaultyVfs vfs_{&disk_};
};

INSTANTIATE_TEST_SUITE_P(SqliteFaults, StoreConformance,
                         testing::Values(Backend{"FaultyDisk",
                                                 [] { return std::make_unique<FaultyBackend>(); }}),
                         [](const auto& instance) { return instance.param.name; });

// A script of commits. Commit i creates record i, appends event i and sets the counter to i, so
// that what a store has tells which commits are in it.
class Script {
 public:
  // If `stops_at_error`, the machine stops after a commit that has failed.
  Script(FaultyDisk* disk, bool stops_at_error)
      : disk_(*disk), stops_at_error_(stops_at_error), vfs_(disk) {}

  // Opens the store, commits so many times and closes it. Goes on after errors, unless the machine
  // has stopped.
  void RunSession(int commits) {
    const absl::StatusOr<std::unique_ptr<Store>> store = OpenAndCheck();
    for (int i = 0; i < commits && store.ok() && disk_.runs(); ++i) Commit(**store);
  }

  // Opens the store and checks what it has: all commits that have succeeded, and no other, except
  // one that is in doubt.
  absl::StatusOr<std::unique_ptr<Store>> OpenAndCheck() {
    ASSIGN_OR_RETURN(std::unique_ptr<Store> store,
                     SqliteStore::Open("store.db", {.sqlite = {.vfs = vfs_.name()}}));
    std::vector<std::set<int>> allowed = {succeeded_};
    for (const int i : doubtful_) {
      allowed.push_back(succeeded_);
      allowed.back().insert(i);
    }
    succeeded_ = CommitsIn(*store);
    EXPECT_THAT(allowed, Contains(ContainerEq(succeeded_)));
    doubtful_.clear();
    return store;
  }

 private:
  void Commit(Store& store) {
    const int i = ++commits_;
    const std::string value = absl::StrCat(i, std::string(3000 * (i % 3), '.'));
    const Write counter = succeeded_.empty()
                              ? Write(CreateRecord{Collection::kModelAliases, "counter", "", value})
                              : Write(UpdateRecord{Collection::kModelAliases, "counter", value});
    const std::vector<Write> writes = {
        CreateRecord{Collection::kJobs, std::to_string(i), "", value}, counter,
        AppendEvent{"s", value}};
    const absl::Status status = store.Commit(writes).status();
    if (status.ok()) {
      succeeded_.insert(i);
      doubtful_.clear();
      return;
    }
    EXPECT_THAT(status.code(),
                AnyOf(absl::StatusCode::kResourceExhausted, absl::StatusCode::kInternal))
        << status;
    if (!disk_.runs() || IsInDoubt(status)) doubtful_.push_back(i);
    if (!disk_.runs()) return;
    // For the store that is open, nothing has been done.
    EXPECT_THAT(CommitsIn(store), ContainerEq(succeeded_)) << status;
    if (stops_at_error_) disk_.Stop();
  }

  static std::set<int> CommitsIn(Store& store) {
    std::set<int> records, events;
    const auto jobs = store.List(Collection::kJobs, 0, 1000);
    const auto all = store.Events("s", 0, 1000);
    const auto counter = store.Get(Collection::kModelAliases, "counter");
    EXPECT_TRUE(jobs.ok()) << jobs.status();
    EXPECT_TRUE(all.ok()) << all.status();
    if (!jobs.ok() || !all.ok()) return {};
    for (const Record& record : *jobs) records.insert(std::stoi(record.value));
    for (const StoredEvent& event : *all) events.insert(std::stoi(event.value));
    EXPECT_THAT(events, ContainerEq(records));
    EXPECT_EQ(counter.ok(), !records.empty());
    if (counter.ok()) {
      EXPECT_EQ(std::stoi(counter->value), *records.rbegin());
    }
    return records;
  }

  FaultyDisk& disk_;
  const bool stops_at_error_;
  FaultyVfs vfs_;
  int commits_ = 0;
  std::set<int> succeeded_;
  std::vector<int> doubtful_;  // since the last one that has succeeded
};

// Runs two sessions of the script, restarts the machine, and checks. Returns whether the fault has
// happened. The seed also decides whether the machine stops after a commit that has failed, whether
// the fault ends with the first session, how long the second is, and what is lost in the end.
bool RunWithFault(const FaultyDisk::Fault& fault, uint64_t seed) {
  std::mt19937_64 random(seed);
  FaultyDisk disk(seed);
  Script script(&disk, /*stops_at_error=*/random() % 2 == 0);
  disk.Fail(fault);
  script.RunSession(3);
  bool failed = random() % 2 == 0 && disk.EndFault();
  script.RunSession(static_cast<int>(random() % 4));
  failed |= disk.EndFault();
  disk.Stop();
  disk.Start(static_cast<Loss>(random() % 3));
  const auto store = script.OpenAndCheck();
  EXPECT_TRUE(store.ok()) << store.status();
  return failed;
}

// Runs the script with `fault` at the first access of the disk, at its second and so on, until the
// script ends before the fault.
void RunWithFaultAtEachAccess(FaultyDisk::Fault fault, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    bool failed = true;
    for (fault.first = 1; failed; ++fault.first) {
      failed = RunWithFault(fault, 1000 * round + fault.first);
      ASSERT_FALSE(testing::Test::HasFailure()) << "round " << round << ", access " << fault.first;
    }
    EXPECT_GT(fault.first, 8);
  }
}

constexpr int kRounds = 4;       // with faults of writes
constexpr int kSyncRounds = 40;  // with faults of syncs, of which there are few

TEST(SqliteFaults, NoSingleFailedWriteLosesOrAddsACommit) {
  RunWithFaultAtEachAccess({.error = ENOSPC, .syncs = false}, kRounds);
  RunWithFaultAtEachAccess({.error = EIO, .syncs = false}, kRounds);
}

TEST(SqliteFaults, NoSingleFailedSyncLosesOrAddsACommit) {
  RunWithFaultAtEachAccess({.error = EIO, .writes = false}, kSyncRounds);
}

TEST(SqliteFaults, NoDiskThatStaysFullLosesOrAddsACommit) {
  RunWithFaultAtEachAccess({.error = ENOSPC, .syncs = false, .repeats = true}, kRounds);
}

TEST(SqliteFaults, NoDiskThatStaysBrokenLosesACommit) {
  RunWithFaultAtEachAccess({.error = EIO, .repeats = true}, kRounds);
}

TEST(SqliteFaults, NoDiskThatCannotSyncLosesACommit) {
  RunWithFaultAtEachAccess({.error = EIO, .writes = false, .repeats = true}, kSyncRounds);
}

TEST(SqliteFaults, NoStopOfTheMachineLosesACommit) {
  RunWithFaultAtEachAccess({.error = EIO, .stops = true}, kRounds);
}

class SqliteDiskTest : public testing::Test {
 protected:
  SqliteDiskTest() { Open(); }

  void Open() {
    store_.reset();
    auto store = SqliteStore::Open("store.db", {.sqlite = {.vfs = vfs_.name()}});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  absl::Status Create(const std::string& key) {
    return store_->Commit(std::vector<Write>{CreateRecord{Collection::kJobs, key, "", "value"}})
        .status();
  }
  absl::Status Get(const std::string& key) { return store_->Get(Collection::kJobs, key).status(); }

  FaultyDisk disk_{1};
  FaultyVfs vfs_{&disk_};
  std::unique_ptr<Store> store_;
};

TEST_F(SqliteDiskTest, ACommitSyncsOnceAndAHeartbeatWritesNothing) {
  ASSERT_TRUE(Create("first").ok());
  const int64_t syncs = disk_.syncs();
  ASSERT_TRUE(Create("second").ok());
  EXPECT_EQ(disk_.syncs(), syncs + 1);
  const int64_t writes = disk_.writes();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(store_->Beat("owner", std::to_string(i)).ok());
    ASSERT_TRUE(store_->EndBeat("another").ok());
  }
  EXPECT_EQ(disk_.writes(), writes);
  EXPECT_EQ(disk_.syncs(), syncs + 1);
  ASSERT_TRUE(store_->Commit({}).ok());
  EXPECT_EQ(disk_.syncs(), syncs + 2);
  ASSERT_TRUE(store_->Commit({}).ok());
  EXPECT_EQ(disk_.syncs(), syncs + 2) << "with nothing to save";
}

TEST_F(SqliteDiskTest, ErrorsSayWhatHappened) {
  disk_.Fail({.error = ENOSPC, .syncs = false});
  const absl::Status full = Create("full");
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()),
              testing::AllOf(HasSubstr("store.db"), HasSubstr("database or disk is full")));
  EXPECT_FALSE(IsInDoubt(full));
  disk_.Fail({.error = EIO});
  const absl::Status broken = Create("broken");
  EXPECT_EQ(broken.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(IsInDoubt(broken));
  EXPECT_THAT(std::string(broken.message()),
              testing::AllOf(HasSubstr("store.db"), HasSubstr("disk I/O error")));
  EXPECT_TRUE(Create("after").ok());
}

TEST_F(SqliteDiskTest, ACommitInDoubtIsUndoneByTheNextOne) {
  disk_.Fail({.error = EIO, .writes = false, .repeats = true});
  const absl::Status status = Create("doubtful");
  EXPECT_TRUE(IsInDoubt(status)) << status;
  EXPECT_TRUE(absl::IsNotFound(Get("doubtful")));
  disk_.EndFault();
  ASSERT_TRUE(Create("next").ok());
  disk_.Stop();
  store_.reset();
  disk_.Start(Loss::kNone);
  Open();
  EXPECT_TRUE(absl::IsNotFound(Get("doubtful")));
  EXPECT_TRUE(Get("next").ok());
}

TEST_F(SqliteDiskTest, AReadOnlyFileIsRefused) {
  store_.reset();
  vfs_.read_only = true;
  const auto store = SqliteStore::Open("store.db", {.sqlite = {.vfs = vfs_.name()}});
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(store.status().message()),
              testing::AllOf(HasSubstr("store.db"), HasSubstr("read-only")));
}

// The log of a large transaction is moved into the file at once, which must not fail either.
TEST_F(SqliteDiskTest, NoFaultOfALargeCommitLosesIt) {
  const std::string large(1 << 20, 'v');
  std::vector<Write> writes;
  for (int i = 0; i < 6; ++i) writes.push_back(AppendEvent{"large", large});
  int64_t committed = 0;
  for (int i = 0; i < 40; ++i) {
    const auto before = disk_.writes();
    disk_.Fail({.error = i % 2 == 0 ? EIO : ENOSPC,
                .first = 1 + static_cast<int64_t>(disk_.random()() % 5000)});
    const auto status = store_->Commit(writes).status();
    committed += status.ok() ? 6 : 0;
    disk_.EndFault();
    EXPECT_GT(disk_.writes(), before);
    if (i % 4 == 3) {
      disk_.Stop();
      store_.reset();
      disk_.Start(static_cast<Loss>(disk_.random()() % 3));
      Open();
      const auto events = store_->Events("large", 0, 1000);
      ASSERT_TRUE(events.ok()) << events.status();
      ASSERT_THAT(*events, testing::SizeIs(committed));
      ASSERT_TRUE(store_->Commit(std::vector<Write>{DeleteEvents{"large"}}).ok());
      committed = 0;
    }
  }
}

// Flips bits, overwrites a page or cuts the file.
void Damage(std::mt19937_64& random, std::string& bytes) {
  const size_t position = random() % bytes.size();
  switch (random() % 8) {
    case 0:
      return bytes.resize(position);
    case 1:
      std::fill_n(bytes.begin() + position, std::min<size_t>(4096, bytes.size() - position), 0);
      return;
    case 2:
      bytes[random() % std::min<size_t>(100, bytes.size())] ^= 1 << random() % 8;  // the header
      return;
    default:
      for (size_t i = 0; i <= random() % 4; ++i)
        bytes[random() % bytes.size()] ^= 1 << random() % 8;
  }
}

class DamagedFileTest : public testing::Test {
 protected:
  DamagedFileTest() {
    auto store = Open(&vfs_);
    for (int i = 0; i < 80; ++i) {
      const std::vector<Write> writes = model_.RandomWrites(random_);
      EXPECT_EQ(model_.Commit(writes, clock_.now(), (*store)->Commit(writes)), "");
    }
    while_open_ = disk_.image();
    store->reset();
    closed_ = disk_.image();
  }

  absl::StatusOr<std::unique_ptr<SqliteStore>> Open(FaultyVfs* vfs) {
    return SqliteStore::Open("store.db",
                             {.sqlite = {.vfs = vfs->name()}, .now = clock_.function()});
  }
  // Opens a store of these files, reads and writes. Returns what was read, or the first error.
  absl::StatusOr<Contents> Use(const FaultyDisk::Image& image) {
    FaultyDisk disk(1, image);
    FaultyVfs vfs(&disk);
    ASSIGN_OR_RETURN(const auto store, Open(&vfs));
    const auto contents = ReadContents(*store, 7);
    for (int i = 0; i < 5; ++i) store->Commit(model_.RandomWrites(random_)).IgnoreError();
    ReadContents(*store, 7).IgnoreError();
    return contents;
  }

  ManualClock clock_;
  std::mt19937_64 random_{1};
  FaultyDisk disk_{1};
  FaultyVfs vfs_{&disk_};
  StoreModel model_;
  FaultyDisk::Image while_open_, closed_;
};

// The damage is found when the file is opened or when a row is read, or it is where it changes no
// answer.
TEST_F(DamagedFileTest, NoDamageGivesAWrongAnswer) {
  ASSERT_THAT(closed_, testing::SizeIs(1));
  int errors = 0;
  for (int i = 0; i < 400; ++i) {
    FaultyDisk::Image image = closed_;
    Damage(random_, image.at("store.db"));
    const auto contents = Use(image);
    errors += !contents.ok();
    if (contents.ok()) {
      ASSERT_THAT(*contents, ContainerEq(model_.contents())) << "damage " << i;
      continue;
    }
    EXPECT_THAT(contents.status().code(),
                AnyOf(absl::StatusCode::kDataLoss, absl::StatusCode::kFailedPrecondition,
                      absl::StatusCode::kInternal))
        << contents.status();
  }
  EXPECT_GT(errors, 100);
}

// Commits at the end of a damaged log are lost, which cannot be told from a crash.
TEST_F(DamagedFileTest, ADamagedLogIsNoCrash) {
  ASSERT_THAT(while_open_, testing::SizeIs(2));
  for (int i = 0; i < 200; ++i) {
    FaultyDisk::Image image = while_open_;
    Damage(random_, image.at("store.db-wal"));
    const auto contents = Use(image);
    EXPECT_TRUE(contents.ok()) << contents.status();
  }
}

}  // namespace
}  // namespace whipsnake::server
