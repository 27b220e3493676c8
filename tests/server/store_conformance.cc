#include "tests/server/store_conformance.h"

#include <gmock/gmock.h>

#include <random>
#include <set>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/server/store_model.h"

namespace whipsnake::server {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Collection kJobs = Collection::kJobs;
constexpr int kSteps = 150;  // of a test with random calls

absl::StatusOr<Committed> CommitAll(Store& store, const std::vector<Write>& writes) {
  return store.Commit(writes);
}

// Random calls, compared with the model.
class RandomCalls {
 public:
  RandomCalls(StoreBackend& backend, uint64_t seed) : backend_(backend), random_(seed) {}

  bool OneIn(int count) { return random_() % count == 0; }
  int64_t Below(int64_t limit) { return static_cast<int64_t>(random_() % limit); }

  // Makes some change and checks what it returns.
  void Change(Store& store) {
    // The clock may also be set back.
    backend_.clock().Advance(std::chrono::microseconds(Below(4000) - 1000));
    const std::string name = RandomNames()[Below(3)];
    const WallTime now = std::chrono::floor<std::chrono::milliseconds>(backend_.clock().now());
    if (OneIn(6)) {
      const std::string value = std::to_string(Below(100));
      ASSERT_TRUE(store.Beat(name, value).ok());
      beats_.Beat(name, value, now);
    } else if (OneIn(12)) {
      ASSERT_TRUE(store.EndBeat(name).ok());
      beats_.End(name);
    } else {
      const std::vector<Write> writes = model_.RandomWrites(random_);
      const auto committed = store.Commit(writes);
      if (IsFault(committed.status())) return;
      ASSERT_EQ(model_.Commit(writes, now, committed), "");
      if (committed.ok()) beats_.Committed();
    }
  }

  void CheckContents(Store& store) {
    const auto contents = ReadContents(store, 1 + static_cast<int>(Below(20)));
    ASSERT_TRUE(contents.ok()) << contents.status();
    ASSERT_THAT(*contents, testing::ContainerEq(model_.contents()));
  }
  void CheckHeartbeats(Store& store, bool after_crash) {
    const auto beats = store.Heartbeats();
    ASSERT_TRUE(beats.ok()) << beats.status();
    ASSERT_EQ(after_crash ? beats_.CheckAfterCrash(*beats) : beats_.Check(*beats), "");
  }
  // The store has been closed, which saves heartbeats.
  void Closed() { beats_.Committed(); }

 private:
  // Whether a commit has failed because of Fail. The model does not know of it: nothing changes.
  static bool IsFault(const absl::Status& status) {
    return absl::IsResourceExhausted(status) || absl::IsInternal(status);
  }

  StoreBackend& backend_;
  std::mt19937_64 random_;
  StoreModel model_;
  HeartbeatModel beats_;
};

}  // namespace

void StoreConformance::Open() {
  auto store = backend_->Open();
  ASSERT_TRUE(store.ok()) << store.status();
  store_ = *std::move(store);
}

void StoreConformance::Reopen() {
  store_.reset();
  Open();
}

void StoreConformance::RestartEmpty() {
  store_.reset();
  backend_ = GetParam().make();
  Open();
}

void StoreConformance::CrashAndReopen() {
  backend_->Crash();
  Reopen();
}

TEST_P(StoreConformance, NamesCollections) {
  std::set<std::string_view> names;
  for (const Collection collection : AllCollections()) names.insert(Name(collection));
  EXPECT_THAT(names, SizeIs(kCollectionCount));
  EXPECT_EQ(Name(Collection::kDatasets), "datasets");
}

TEST_P(StoreConformance, ReturnsWhatACommitAssigned) {
  backend_->clock().Advance(std::chrono::microseconds(1'234'567));
  const auto committed =
      CommitAll(*store_, {CreateRecord{kJobs, "j", "p", "one"}, AppendEvent{"s", "created"},
                          UpdateRecord{kJobs, "j", "two", 1}, AppendEvent{"s", "updated"}});
  ASSERT_TRUE(committed.ok()) << committed.status();
  const WallTime now = std::chrono::floor<std::chrono::milliseconds>(backend_->clock().now());
  EXPECT_THAT(committed->records,
              ElementsAre(testing::AllOf(Field(&Record::value, "one"), Field(&Record::revision, 1),
                                         Field(&Record::create_time, now)),
                          testing::AllOf(Field(&Record::value, "two"), Field(&Record::revision, 2),
                                         Field(&Record::update_time, now))));
  EXPECT_THAT(
      committed->events,
      ElementsAre(
          testing::AllOf(Field(&StoredEvent::value, "created"), Field(&StoredEvent::time, now)),
          testing::AllOf(Field(&StoredEvent::value, "updated"), Field(&StoredEvent::time, now))));
}

TEST_P(StoreConformance, ErrorsNameTheCollectionAndTheKey) {
  ASSERT_TRUE(CommitAll(*store_, {CreateRecord{kJobs, "there", "", ""}}).ok());
  const auto expect = [&](const absl::Status& status, absl::StatusCode code, const char* key) {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), testing::AllOf(HasSubstr("jobs"), HasSubstr(key)));
  };
  expect(CommitAll(*store_, {CreateRecord{kJobs, "there", "", ""}}).status(),
         absl::StatusCode::kAlreadyExists, "there");
  expect(CommitAll(*store_, {UpdateRecord{kJobs, "there", "", 2}}).status(),
         absl::StatusCode::kAborted, "there");
  expect(CommitAll(*store_, {DeleteRecord{kJobs, "there", 2}}).status(), absl::StatusCode::kAborted,
         "there");
  expect(CommitAll(*store_, {UpdateRecord{kJobs, "missing", ""}}).status(),
         absl::StatusCode::kNotFound, "missing");
  expect(CommitAll(*store_, {DeleteRecord{kJobs, "missing"}}).status(), absl::StatusCode::kNotFound,
         "missing");
  expect(store_->Get(kJobs, "missing").status(), absl::StatusCode::kNotFound, "missing");
}

TEST_P(StoreConformance, ListsInPagesAndTakesNoLimitBelowOne) {
  std::vector<Write> writes;
  for (int i = 0; i < 10; ++i) {
    writes.push_back(CreateRecord{kJobs, absl::StrCat("job ", 9 - i), "", ""});
    writes.push_back(AppendEvent{"stream", ""});
    writes.push_back(AppendEvent{"another", ""});
  }
  const auto committed = CommitAll(*store_, writes);
  ASSERT_TRUE(committed.ok()) << committed.status();
  const int64_t third = committed->records[2].number;
  const auto page = store_->List(kJobs, third, 3);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, ElementsAre(Field(&Record::key, "job 6"), Field(&Record::key, "job 5"),
                                 Field(&Record::key, "job 4")));
  EXPECT_THAT(*store_->Events("stream", committed->events[4].id, 100), SizeIs(7));
  for (const int limit : {0, -1}) {
    EXPECT_THAT(*store_->List(kJobs, 0, limit), IsEmpty());
    EXPECT_THAT(*store_->Events("stream", 0, limit), IsEmpty());
  }
}

TEST_P(StoreConformance, NeverUsesANumberAgain) {
  int64_t last_number = 0, last_event = 0;
  for (int i = 0; i < 5; ++i) {
    const auto committed =
        CommitAll(*store_, {CreateRecord{kJobs, "j", "", ""}, AppendEvent{"s", ""}});
    ASSERT_TRUE(committed.ok()) << committed.status();
    EXPECT_GT(committed->records[0].number, last_number);
    EXPECT_GT(committed->events[0].id, last_event);
    last_number = committed->records[0].number;
    last_event = committed->events[0].id;
    ASSERT_TRUE(CommitAll(*store_, {DeleteRecord{kJobs, "j"}, DeleteEvents{"s"}}).ok());
    if (backend_->persists()) Reopen();
  }
}

TEST_P(StoreConformance, KeepsLargeValues) {
  std::mt19937_64 random(1);
  std::string value(1 << 20, ' ');
  for (char& byte : value) byte = static_cast<char>(random() % 128);
  ASSERT_TRUE(
      CommitAll(*store_, {CreateRecord{kJobs, "large", "", value}, AppendEvent{"s", value}}).ok());
  if (backend_->persists()) Reopen();
  EXPECT_TRUE(store_->Get(kJobs, "large")->value == value);
  EXPECT_TRUE(store_->Events("s", 0, 1)->front().value == value);
}

TEST_P(StoreConformance, LosesNoUpdateOfManyThreads) {
  constexpr int kThreads = 8, kIncrements = 20;
  ASSERT_TRUE(CommitAll(*store_, {CreateRecord{kJobs, "counter", "", "0"}}).ok());
  const auto increment = [&] {
    while (true) {
      const auto counter = store_->Get(kJobs, "counter");
      int value = 0;
      if (!counter.ok() || !absl::SimpleAtoi(counter->value, &value)) return counter.status();
      const absl::Status status =
          CommitAll(*store_,
                    {UpdateRecord{kJobs, "counter", std::to_string(value + 1), counter->revision},
                     AppendEvent{"s", ""}})
              .status();
      if (!absl::IsAborted(status)) return status;
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < kIncrements; ++j) {
        EXPECT_TRUE(increment().ok());
        EXPECT_TRUE(store_->Beat(std::to_string(i), std::to_string(j)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto counter = store_->Get(kJobs, "counter");
  ASSERT_TRUE(counter.ok()) << counter.status();
  EXPECT_EQ(counter->value, std::to_string(kThreads * kIncrements));
  EXPECT_EQ(counter->revision, kThreads * kIncrements + 1);
  EXPECT_THAT(*store_->Events("s", 0, 1000), SizeIs(kThreads * kIncrements));
  EXPECT_THAT(*store_->Heartbeats(), SizeIs(kThreads));
}

TEST_P(StoreConformance, KeepsTheLastHeartbeatOfEachOwner) {
  ASSERT_TRUE(store_->Beat("a", "1").ok());
  ASSERT_TRUE(store_->Beat("b", "2").ok());
  backend_->clock().Advance(std::chrono::seconds(1));
  ASSERT_TRUE(store_->Beat("a", "3").ok());
  ASSERT_TRUE(store_->EndBeat("b").ok());
  ASSERT_TRUE(store_->EndBeat("unknown").ok());
  const auto check = [&] {
    const auto beats = store_->Heartbeats();
    ASSERT_TRUE(beats.ok()) << beats.status();
    EXPECT_THAT(*beats, ElementsAre(testing::AllOf(
                            Field(&Heartbeat::key, "a"), Field(&Heartbeat::value, "3"),
                            Field(&Heartbeat::time, backend_->clock().now()))));
  };
  check();
  if (!backend_->persists()) return;
  Reopen();
  check();
}

TEST_P(StoreConformance, AgreesWithTheModel) {
  RandomCalls calls(*backend_, 1);
  for (int i = 0; i < kSteps; ++i) {
    ASSERT_NO_FATAL_FAILURE(calls.Change(*store_)) << "step " << i;
    if (backend_->persists() && calls.OneIn(20)) {
      Reopen();
      calls.Closed();
    }
    if (calls.OneIn(10)) {
      ASSERT_NO_FATAL_FAILURE(calls.CheckContents(*store_)) << "step " << i;
    }
    ASSERT_NO_FATAL_FAILURE(calls.CheckHeartbeats(*store_, false)) << "step " << i;
  }
}

TEST_P(StoreConformance, KeepsCommitsInACrash) {
  if (!backend_->can_crash()) GTEST_SKIP() << "this backend cannot crash";
  for (int seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RestartEmpty();
    RandomCalls calls(*backend_, seed);
    for (int i = 0; i < kSteps; ++i) {
      ASSERT_NO_FATAL_FAILURE(calls.Change(*store_)) << "step " << i;
      if (!calls.OneIn(8)) continue;
      CrashAndReopen();
      ASSERT_NO_FATAL_FAILURE(calls.CheckContents(*store_)) << "step " << i;
      ASSERT_NO_FATAL_FAILURE(calls.CheckHeartbeats(*store_, true)) << "step " << i;
    }
  }
}

TEST_P(StoreConformance, ChangesNothingWhereTheDiskFails) {
  if (!backend_->can_fail()) GTEST_SKIP() << "this backend has no faults of the disk";
  int faults = 0;
  for (int seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RestartEmpty();
    RandomCalls calls(*backend_, seed);
    for (int i = 0; i < kSteps; ++i) {
      backend_->Fail(
          calls.OneIn(2) ? StoreBackend::Fault::kDiskFull : StoreBackend::Fault::kSystemError,
          1 + calls.Below(12));
      ASSERT_NO_FATAL_FAILURE(calls.Change(*store_)) << "step " << i;
      faults += backend_->EndFault();
      const bool crash = backend_->can_crash() && calls.OneIn(4);
      if (crash) CrashAndReopen();
      ASSERT_NO_FATAL_FAILURE(calls.CheckHeartbeats(*store_, crash)) << "step " << i;
      if (crash || calls.OneIn(4)) {
        ASSERT_NO_FATAL_FAILURE(calls.CheckContents(*store_)) << "step " << i;
      }
    }
  }
  EXPECT_GT(faults, 100);
}

}  // namespace whipsnake::server
