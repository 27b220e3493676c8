#include "server/registry/state_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <latch>
#include <limits>
#include <new>
#include <thread>

#include "engine/base/digest.h"
#include "engine/base/exceptions.h"
#include "engine/base/status.h"
#include "tests/engine/fakes/fake_model.h"
#include "tests/server/failing_memory.h"

namespace whipsnake::server {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StateStoreTest : public testing::Test {
 protected:
  StateStoreTest() {
    fs::remove_all(directory_);
    fs::create_directories(directory_);
    options_.directory = directory_.string();
    options_.now = [this] { return now_.load(); };
  }

  void Open() {
    store_.reset();
    store_ = std::make_unique<StateStore>(options_, &ledger_);
    ASSERT_TRUE(store_->Open().ok());
  }

  void Advance(std::chrono::system_clock::duration time) { now_ = now_.load() + time; }

  absl::Status Delete(std::string_view handle) {
    std::promise<absl::Status> result;
    store_->Delete(handle, "client", [&](const absl::Status& status) { result.set_value(status); });
    return result.get_future().get();
  }

  // Returns the state of a sequence that begins with `first` and whose last token was not read.
  engine::SavedState State(int32_t first, int length = 4) {
    auto state = model_.NewState();
    auto& history = static_cast<engine::FakeState&>(**state).history;
    for (int i = 0; i < length; ++i) history.push_back(first + i);
    engine::SavedState saved{history, nullptr};
    history.pop_back();
    saved.state = *std::move(state);
    return saved;
  }

  absl::StatusOr<StateInfo> Save(const engine::SavedState& state,
                                 const StateRetention& retention = {},
                                 const std::string& digest = "d1") {
    std::promise<absl::StatusOr<StateInfo>> result;
    store_->Save(state, "m", digest, retention,
                 [&](absl::StatusOr<StateInfo> info) { result.set_value(std::move(info)); });
    return result.get_future().get();
  }
  absl::StatusOr<StateInfo> Fork(std::string_view handle, const StateRetention& retention = {}) {
    std::promise<absl::StatusOr<StateInfo>> result;
    store_->Fork(handle, retention, "client",
                 [&](absl::StatusOr<StateInfo> info) { result.set_value(std::move(info)); });
    return result.get_future().get();
  }

  // Returns the tokens of the state with this handle, or none if it cannot be continued.
  std::vector<int32_t> Tokens(std::string_view handle, std::string_view digest = "d1") {
    const auto state = store_->Load(handle, model_, digest);
    if (!state.ok()) return {};
    const auto& history = static_cast<const engine::FakeState&>(*(*state)->state).history;
    EXPECT_TRUE(std::equal(history.begin(), history.end(), (*state)->tokens.begin()));
    EXPECT_EQ(history.size() + 1, (*state)->tokens.size());
    return (*state)->tokens;
  }

  std::vector<std::string> Files(std::string_view extension) {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(directory_)) {
      if (file.path().extension() == extension) names.push_back(file.path().filename());
    }
    return names;
  }

  static constexpr StateRetention kOnDisk{.time_to_live = std::nullopt, .on_disk = true};

  const fs::path directory_ = fs::path(testing::TempDir()) / "state_store_test";
  // Also read by the store's thread.
  std::atomic<std::chrono::system_clock::time_point> now_{
      std::chrono::system_clock::from_time_t(1'700'000'000)};
  engine::Ledger ledger_;
  engine::FakeModel model_{1000};
  StateStoreOptions options_;
  std::unique_ptr<StateStore> store_;
};

TEST_F(StateStoreTest, KeepsWhatItWasGivenInMemoryAndOnDisk) {
  Open();
  for (const StateRetention& retention : {StateRetention(), kOnDisk}) {
    const auto info = Save(State(10), retention);
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->model, "m");
    EXPECT_EQ(info->digest, "d1");
    EXPECT_EQ(info->tokens, 4);
    EXPECT_EQ(info->position, 3);
    EXPECT_EQ(info->bytes, 4 * 4 + 3 * 4);
    EXPECT_EQ(info->expires - info->created, hours(1));
    EXPECT_EQ(info->on_disk, retention.on_disk.value_or(false));
    EXPECT_THAT(Tokens(info->handle), ElementsAre(10, 11, 12, 13));
    EXPECT_EQ(store_->Get(info->handle)->handle, info->handle);
  }
  EXPECT_EQ(store_->List("m").size(), 2);
  EXPECT_EQ(store_->List("").size(), 2);
  EXPECT_THAT(store_->List("other"), IsEmpty());
  EXPECT_EQ(store_->memory_bytes(), 28);
  EXPECT_EQ(store_->disk_bytes(), 28);
  EXPECT_EQ(ledger_.used(), 28);  // states on disk take no memory
}

TEST_F(StateStoreTest, WhatIsOnDiskSurvivesARestartAndTheRestDoesNot) {
  Open();
  const StateInfo disk = *Save(State(10), kOnDisk), memory = *Save(State(20));
  Open();
  EXPECT_THAT(Tokens(disk.handle), ElementsAre(10, 11, 12, 13));
  const StateInfo found = *store_->Get(disk.handle);
  EXPECT_EQ(found.expires, disk.expires);
  EXPECT_EQ(found.created, disk.created);
  EXPECT_EQ(found.model, "m");
  EXPECT_EQ(found.bytes, disk.bytes);
  EXPECT_TRUE(absl::IsNotFound(store_->Get(memory.handle).status()));
  EXPECT_EQ(ledger_.used(), 0);
}

TEST_F(StateStoreTest, AnotherModelCannotContinueIt) {
  Open();
  for (const StateRetention& retention : {StateRetention(), kOnDisk}) {
    const StateInfo info = *Save(State(10), retention);
    const auto state = store_->Load(info.handle, model_, "d2");
    EXPECT_TRUE(absl::IsFailedPrecondition(state.status()));
    EXPECT_THAT(std::string(state.status().message()), HasSubstr("d2"));
    EXPECT_THAT(Tokens(info.handle), ElementsAre(10, 11, 12, 13)) << "it is still there";
  }
}

TEST_F(StateStoreTest, AForkLivesByItself) {
  Open();
  for (const bool on_disk : {false, true}) {
    for (const bool fork_on_disk : {false, true}) {
      const StateInfo info = *Save(State(10), {.time_to_live = seconds(10), .on_disk = on_disk});
      const auto fork = Fork(info.handle, {.time_to_live = seconds(20), .on_disk = fork_on_disk});
      ASSERT_TRUE(fork.ok()) << fork.status();
      EXPECT_NE(fork->handle, info.handle);
      EXPECT_EQ(fork->on_disk, fork_on_disk);
      EXPECT_TRUE(Delete(info.handle).ok());
      EXPECT_THAT(Tokens(fork->handle), ElementsAre(10, 11, 12, 13));
      EXPECT_EQ(fork->expires - fork->created, seconds(20));
      EXPECT_EQ(Fork(fork->handle)->on_disk, fork_on_disk);
    }
  }
  EXPECT_TRUE(absl::IsNotFound(Fork("st-unknown").status()));
}

TEST_F(StateStoreTest, ExpiresAndIsDeletedWithItsFile) {
  Open();
  const StateInfo soon = *Save(State(10), {.time_to_live = seconds(5), .on_disk = true});
  const StateInfo later = *Save(State(20), {.time_to_live = seconds(9), .on_disk = {}});
  const StateInfo deleted = *Save(State(30), kOnDisk);
  EXPECT_EQ(Files(".state").size(), 2);
  EXPECT_TRUE(Delete(deleted.handle).ok());
  EXPECT_TRUE(absl::IsNotFound(Delete(deleted.handle)));
  EXPECT_EQ(Files(".state").size(), 1);
  Advance(seconds(5));
  EXPECT_TRUE(absl::IsNotFound(store_->Get(soon.handle).status()));
  EXPECT_TRUE(store_->Get(later.handle).ok());
  store_->Flush();
  EXPECT_THAT(Files(".state"), IsEmpty());
  Advance(seconds(4));
  EXPECT_THAT(store_->List(""), IsEmpty());
  store_->Flush();
  EXPECT_EQ(store_->memory_bytes() + store_->disk_bytes() + store_->states() + ledger_.used(), 0);
}

TEST_F(StateStoreTest, WhatExpiredWhileNobodyServedIsDeletedAtTheStart) {
  Open();
  Save(State(10), kOnDisk).IgnoreError();
  store_.reset();
  Advance(hours(2));
  Open();
  store_->Flush();
  EXPECT_EQ(store_->states(), 0);
  EXPECT_THAT(Files(".state"), IsEmpty());
}

TEST_F(StateStoreTest, RefusesWhereThereIsNoRoomAndForgetsNothing) {
  options_.max_memory_bytes = 60;
  options_.max_disk_bytes = 30;
  options_.max_states = 3;
  Open();
  const StateInfo first = *Save(State(10)), second = *Save(State(20));
  EXPECT_TRUE(absl::IsResourceExhausted(Save(State(30)).status())) << "bytes";
  EXPECT_TRUE(Save(State(40), kOnDisk).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Save(State(50), kOnDisk).status())) << "bytes on disk";
  EXPECT_TRUE(Delete(first.handle).ok());
  EXPECT_TRUE(Save(State(60, 2)).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Save(State(70, 1)).status())) << "states";
  EXPECT_THAT(Tokens(second.handle), ElementsAre(20, 21, 22, 23));
}

TEST_F(StateStoreTest, RefusesARetentionThatItCannotKeep) {
  Open();
  const auto field = [&](std::chrono::milliseconds time) {
    return engine::FieldOf(store_->Validate({.time_to_live = time, .on_disk = {}}));
  };
  EXPECT_EQ(field(seconds(0)), "time_to_live");
  EXPECT_EQ(field(seconds(-1)), "time_to_live");
  EXPECT_EQ(field(hours(24 * 30) + seconds(1)), "time_to_live");
  EXPECT_EQ(field(hours(24 * 30)), "");
  options_.directory.clear();
  Open();
  EXPECT_TRUE(absl::IsFailedPrecondition(Save(State(10), kOnDisk).status()));
}

// Changes every byte in turn, and also tries missing and extra bytes.
TEST_F(StateStoreTest, ADamagedFileIsSetAsideAndNeverServed) {
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  const fs::path path = directory_ / (info.name + ".state");
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  };
  std::vector<std::string> damaged = {whole.substr(0, whole.size() - 1), whole + "x", "",
                                      whole.substr(0, 20)};
  for (size_t i = 0; i < whole.size(); ++i) {
    if (i == 6 || i == 7) continue;  // the version, tested below
    damaged.push_back(whole);
    damaged.back()[i] ^= 0x10;
  }
  for (const std::string& bytes : damaged) {
    // Damaged while the store serves.
    write(whole);
    Open();
    write(bytes);
    EXPECT_THAT(Tokens(info.handle), IsEmpty());
    EXPECT_TRUE(absl::IsNotFound(store_->Get(info.handle).status()));
    ASSERT_EQ(Files(".corrupt").size(), 1);
    EXPECT_THAT(Files(".state"), IsEmpty());
    fs::remove(directory_ / Files(".corrupt").front());
    // Damaged before the start: noticed then, or at the latest when it is used.
    write(bytes);
    Open();
    EXPECT_THAT(Tokens(info.handle), IsEmpty());
    ASSERT_EQ(Files(".corrupt").size(), 1);
    fs::remove(directory_ / Files(".corrupt").front());
  }
  // A file that a newer server wrote is left alone.
  std::string newer = whole;
  newer[7] = '9';
  write(newer);
  Open();
  EXPECT_THAT(Tokens(info.handle), IsEmpty());
  EXPECT_THAT(Files(".corrupt"), IsEmpty());
  EXPECT_EQ(Files(".state").size(), 1);
}

// Files with correct checksums that this store did not write.
class ModifiedFileTest : public StateStoreTest {
 protected:
  // Saves a state and applies `change` to its file.
  StateInfo WriteModifiedFile(const std::function<void(engine::StateFile&)>& change) {
    const StateInfo info = *Save(State(10), kOnDisk);
    const std::string path = (directory_ / Files(".state").front()).string();
    engine::StateFile file = *engine::ReadStateFile(path);
    change(file);
    file.header.tokens = std::ssize(file.tokens);
    EXPECT_TRUE(engine::WriteStateFile(path, file.header, file.tokens, file.state).ok());
    return info;
  }
};

TEST_F(ModifiedFileTest, TokensThatTheModelLacksAreDamage) {
  for (const int32_t token : {-1, 1000, std::numeric_limits<int32_t>::max()}) {
    for (const int place : {0, 3}) {
      Open();
      const StateInfo info =
          WriteModifiedFile([&](engine::StateFile& file) { file.tokens[place] = token; });
      EXPECT_TRUE(absl::IsDataLoss(store_->Load(info.handle, model_, "d1").status())) << token;
      EXPECT_TRUE(absl::IsNotFound(store_->Get(info.handle).status()));
      ASSERT_EQ(Files(".corrupt").size(), 1);
      fs::remove(directory_ / Files(".corrupt").front());
    }
  }
}

TEST_F(ModifiedFileTest, AnotherStateInItsPlaceIsDamage) {
  Open();
  const StateInfo info =
      WriteModifiedFile([](engine::StateFile& file) { file.header.digest = "d2"; });
  EXPECT_TRUE(absl::IsDataLoss(store_->Load(info.handle, model_, "d1").status()));
}

TEST_F(ModifiedFileTest, NoneLivesLongerThanTheStoreLets) {
  using std::chrono::system_clock;
  Open();
  const StateInfo info = WriteModifiedFile([](engine::StateFile& file) {
    file.header.expires =
        std::chrono::floor<std::chrono::milliseconds>(system_clock::time_point::max());
  });
  Open();
  EXPECT_EQ(store_->Get(info.handle)->expires, now_.load() + options_.max_time_to_live);
  Advance(options_.max_time_to_live);
  EXPECT_TRUE(absl::IsNotFound(store_->Get(info.handle).status()));
}

// A file with a time outside the clock's range is not a state file.
TEST_F(ModifiedFileTest, ATimeBeyondTheClockIsDamage) {
  for (const char* time : {"9223372036855", "1125899906842624", "-1"}) {
    const std::string text =
        absl::StrCat(R"({"model":"m","digest":"d1","created_ms":0,"expires_ms":)", time,
                     R"(,"tokens":1,"position":1,"state_bytes":0})");
    const uint64_t length = text.size();
    std::string bytes = "WSNKST01";
    const auto append = [&](const void* data, size_t size) {
      bytes.append(static_cast<const char*>(data), size);
    };
    append(&length, sizeof(length));
    append(engine::Digest::Of(text).data(), 16);
    bytes += text;
    const int32_t token = 1;
    append(&token, sizeof(token));
    append(engine::Digest::Of(bytes).data(), 16);
    const auto parsed = engine::ParseStateFile(std::as_bytes(std::span(bytes)));
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("expires_ms"));
  }
}

TEST_F(StateStoreTest, NamesAreNoHandles) {
  Open();
  const StateInfo memory = *Save(State(10)), disk = *Save(State(20), kOnDisk);
  const std::vector<StateInfo> listed = store_->List("");
  ASSERT_EQ(listed.size(), 2);
  EXPECT_LT(listed[0].name, listed[1].name);
  for (const StateInfo& info : listed) {
    EXPECT_EQ(info.handle, "");
    EXPECT_TRUE(absl::IsNotFound(store_->Get(info.name).status()));
    EXPECT_TRUE(absl::IsNotFound(store_->Load(info.name, model_, "d1").status()));
    EXPECT_TRUE(absl::IsNotFound(Fork(info.name).status()));
    EXPECT_TRUE(absl::IsNotFound(Delete(info.name)));
  }
  EXPECT_THAT(Files(".state"), ElementsAre(disk.name + ".state"));
  EXPECT_EQ(fs::status(directory_ / (disk.name + ".state")).permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(store_->Get(memory.handle)->name, memory.name);
}

// An older version named files by their handles and let other users read them.
TEST_F(StateStoreTest, AFileOfAnOlderVersionGetsItsName) {
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  store_.reset();
  fs::rename(directory_ / (info.name + ".state"), directory_ / (info.handle + ".state"));
  fs::permissions(directory_ / (info.handle + ".state"), fs::perms::others_read,
                  fs::perm_options::add);
  Open();
  EXPECT_THAT(Tokens(info.handle), ElementsAre(10, 11, 12, 13));
  EXPECT_THAT(Files(".state"), ElementsAre(info.name + ".state"));
  EXPECT_EQ(fs::status(directory_ / (info.name + ".state")).permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(StateStoreTest, SaysWhenItsDirectoryCannotBeRead) {
  options_.directory = (directory_ / "absent").string();
  EXPECT_FALSE(StateStore(options_, &ledger_).Open().ok());
}

TEST_F(StateStoreTest, AFileThatIsGoneIsDataLoss) {
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  fs::rename(directory_ / (info.name + ".state"), directory_ / "elsewhere");
  for (const absl::Status& status :
       {store_->Load(info.handle, model_, "d1").status(), Fork(info.handle).status()}) {
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(engine::ClientMessage(status), testing::Not(HasSubstr(directory_.string())));
  }
  fs::rename(directory_ / "elsewhere", directory_ / (info.name + ".state"));
  EXPECT_THAT(Tokens(info.handle), ElementsAre(10, 11, 12, 13));
}

// However many states expire at once, a call removes only some of them; a save that needs room
// still gets it.
TEST_F(StateStoreTest, ManyThatExpireAtOnceAreForgottenBitByBit) {
  options_.max_states = 300;
  Open();
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(Save(State(1, 2), {.time_to_live = seconds(5), .on_disk = i % 100 == 0}).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(Save(State(1)).status()));
  EXPECT_EQ(Files(".state").size(), 3);
  Advance(seconds(5));
  EXPECT_TRUE(Save(State(1)).ok());
  EXPECT_EQ(store_->List("").size(), 1);
  for (int i = 0; i < 5; ++i) store_->List("");
  store_->Flush();
  EXPECT_EQ(store_->states(), 1);
  EXPECT_THAT(Files(".state"), IsEmpty());
}

TEST_F(StateStoreTest, AFileThatCannotBeWrittenIsAnErrorAndTakesNoRoom) {
  Open();
  fs::remove_all(directory_);
  EXPECT_FALSE(Save(State(10), kOnDisk).ok());
  EXPECT_EQ(store_->states() + store_->disk_bytes(), 0);
}

// The file is gone, so the state is too, even if the directory cannot be synchronised.
TEST_F(StateStoreTest, AStateWhoseFileIsRemovedIsGone) {
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  fs::remove_all(directory_);  // the file is absent, and the directory cannot be synchronised
  const absl::Status status = Delete(info.handle);
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(engine::ClientMessage(status)),
              HasSubstr("is deleted, but may reappear"));
  EXPECT_TRUE(absl::IsNotFound(store_->Get(info.handle).status()));
  EXPECT_EQ(store_->states() + store_->disk_bytes(), 0);
}

// Lets a test block the store's thread.
class BusyStoreTest : public StateStoreTest {
 protected:
  ~BusyStoreTest() override {
    UnblockWorker();
    store_->Flush();
  }

  // From here on all work on files waits for UnblockWorker().
  void BlockWorker() {
    store_->Save(State(500), "m", "d1", kOnDisk, [this](const absl::StatusOr<StateInfo>&) {
      busy_.count_down();
      release_.wait();
    });
    busy_.wait();
  }
  void UnblockWorker() {
    if (!std::exchange(released_, true)) release_.count_down();
  }

  using StateStoreTest::Fork;
  void Fork(const std::string& handle, const std::string& client, size_t times) {
    for (size_t i = 0; i < times; ++i) store_->Fork(handle, {}, client, answer_with_info_);
  }
  // Queues as many forks as may wait, of several clients.
  void FillQueue(const std::string& handle) {
    for (const char* client : {"a", "b", "c", "d"}) {
      Fork(handle, client, DiskQueue::kMaxWaitingOfClient);
    }
  }

  std::vector<absl::Status> answers_;  // by the store's thread, or by this one while that is held
  const std::function<void(absl::Status)> answer_ = [this](const absl::Status& status) {
    answers_.push_back(status);
  };
  const StateStore::Done answer_with_info_ = [this](const absl::StatusOr<StateInfo>& info) {
    answers_.push_back(info.status());
  };

  std::atomic<int> notified_{0};  // answers
  std::latch busy_{1}, release_{1};
  bool released_ = false;
};

TEST_F(BusyStoreTest, WhatWaitsForTheDiskIsBounded) {
  Open();
  const StateInfo disk = *Save(State(10), kOnDisk), memory = *Save(State(20));
  BlockWorker();
  FillQueue(disk.handle);
  EXPECT_THAT(answers_, IsEmpty());
  const auto held = [&] {
    return store_->states() + store_->disk_bytes() + store_->memory_bytes() + ledger_.used();
  };
  const int64_t before = held();
  store_->Fork(disk.handle, {}, "another", answer_with_info_);
  store_->Fork(disk.handle, {.time_to_live = {}, .on_disk = false}, "another", answer_with_info_);
  store_->Fork(memory.handle, kOnDisk, "another", answer_with_info_);
  store_->Delete(disk.handle, "another", answer_);
  ASSERT_EQ(answers_.size(), 4) << "at once";
  for (const absl::Status& status : answers_) {
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("too many changes are "
                                                         "waiting for the disk (limit 256)"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("try again"));
  }
  EXPECT_EQ(held(), before);
  answers_.clear();
  EXPECT_TRUE(Save(State(40)).ok()) << "what is kept in memory does not wait";
  EXPECT_TRUE(Fork(memory.handle).ok());
  EXPECT_TRUE(Delete(memory.handle).ok());
  UnblockWorker();
  store_->Flush();
  EXPECT_THAT(answers_, testing::SizeIs(DiskQueue::kMaxWaiting));
  EXPECT_THAT(answers_, testing::Each(absl::OkStatus()));
  EXPECT_TRUE(Delete(disk.handle).ok());
}

TEST_F(BusyStoreTest, AClientTakesAQuarterOfTheQueue) {
  Open();
  const StateInfo disk = *Save(State(10), kOnDisk);
  BlockWorker();
  Fork(disk.handle, "flooder", DiskQueue::kMaxWaitingOfClient);
  EXPECT_THAT(answers_, IsEmpty());
  Fork(disk.handle, "flooder", 1);
  store_->Delete(disk.handle, "flooder", answer_);
  ASSERT_EQ(answers_.size(), 2) << "at once";
  for (const absl::Status& status : answers_) {
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("of this client are waiting for the disk "
                                                         "(limit 64)"));
  }
  answers_.clear();
  Fork(disk.handle, "another", 1);
  EXPECT_THAT(answers_, IsEmpty());
  UnblockWorker();
  store_->Flush();
  EXPECT_THAT(answers_, testing::SizeIs(DiskQueue::kMaxWaitingOfClient + 1));
  EXPECT_THAT(answers_, testing::Each(absl::OkStatus()));
}

// A finished generation is not lost, however many forks wait.
TEST_F(BusyStoreTest, ASaveIsNotRefusedForTheQueue) {
  Open();
  const StateInfo disk = *Save(State(10), kOnDisk);
  BlockWorker();
  FillQueue(disk.handle);
  for (int i = 0; i < 100; ++i) {
    store_->Save(State(30), "m", "d1", kOnDisk, answer_with_info_);
  }
  EXPECT_THAT(answers_, IsEmpty());
  Fork(disk.handle, "another", 1);
  ASSERT_EQ(answers_.size(), 1);
  EXPECT_THAT(std::string(answers_[0].message()), HasSubstr("limit 256")) << "saves do not count";
  answers_.clear();
  UnblockWorker();
  store_->Flush();
  EXPECT_THAT(answers_, testing::SizeIs(DiskQueue::kMaxWaiting + 100));
  EXPECT_THAT(answers_, testing::Each(absl::OkStatus()));
}

// The counts do not include what was refused, and what was computed is still saved.
TEST_F(BusyStoreTest, OnceClosedItForksAndDeletesNoMore) {
  Open();
  const StateInfo disk = *Save(State(10), kOnDisk), memory = *Save(State(20));
  BlockWorker();
  const int64_t before = store_->states();
  Fork(disk.handle, "a", 5);
  store_->Delete(disk.handle, "a", answer_);
  store_->Close();
  EXPECT_THAT(answers_, testing::SizeIs(6)) << "at once";
  EXPECT_EQ(store_->states(), before);
  Fork(disk.handle, "a", 1);
  Fork(memory.handle, "a", 1);
  store_->Delete(memory.handle, "a", answer_);
  ASSERT_THAT(answers_, testing::SizeIs(9));
  for (const absl::Status& status : answers_) EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  answers_.clear();
  store_->Save(State(30), "m", "d1", kOnDisk, answer_with_info_);
  UnblockWorker();
  store_->Flush();
  EXPECT_THAT(answers_, ElementsAre(absl::OkStatus()));
  EXPECT_THAT(Tokens(disk.handle), ElementsAre(10, 11, 12, 13));
}

// The store's own work is not refused, and runs behind that of clients.
TEST_F(BusyStoreTest, WhatExpiresIsRemovedHoweverManyWait) {
  Open();
  const StateInfo soon = *Save(State(10), {.time_to_live = seconds(5), .on_disk = true});
  const StateInfo disk = *Save(State(20), kOnDisk);
  BlockWorker();
  FillQueue(disk.handle);
  Advance(seconds(5));
  EXPECT_TRUE(absl::IsNotFound(store_->Get(soon.handle).status()));
  UnblockWorker();
  store_->Flush();
  EXPECT_FALSE(fs::exists(directory_ / (soon.name + ".state")));
}

TEST_F(StateStoreTest, AForkWithoutRoomIsRefusedBeforeItsFileIsRead) {
  options_.max_states = 1;
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  std::ofstream(directory_ / (info.name + ".state"), std::ios::trunc) << "damaged";
  EXPECT_TRUE(absl::IsResourceExhausted(Fork(info.handle).status()));
  EXPECT_EQ(Files(".state").size(), 1) << "nobody has seen the damage";
}

TEST_F(StateStoreTest, AForkWhoseFileCannotBeReadTakesNoRoom) {
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  fs::remove(directory_ / (info.name + ".state"));
  for (const bool on_disk : {false, true}) {
    EXPECT_FALSE(Fork(info.handle, {.time_to_live = {}, .on_disk = on_disk}).ok());
  }
  EXPECT_EQ(store_->states(), 1);
  EXPECT_EQ(store_->memory_bytes(), 0);
  EXPECT_EQ(store_->disk_bytes(), info.bytes);
}

// Throws when the ledger asks it for memory.
struct ThrowingReclaimer : engine::Reclaimer {
  int64_t Reclaim(int64_t) override { throw std::bad_alloc(); }
};

TEST_F(StateStoreTest, AnExceptionOnItsThreadEndsTheCallAlone) {
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  store_.reset();
  engine::Ledger small(info.bytes);
  ThrowingReclaimer thrower;
  StateStore store(options_, &small);
  ASSERT_TRUE(store.Open().ok());
  const auto reserved = small.Reserve(1, engine::Purpose::kStates, "what leaves too little");
  small.Register(&thrower);
  std::promise<absl::Status> result;
  store.Fork(info.handle, {}, "client",
             [&](const absl::StatusOr<StateInfo>& fork) { result.set_value(fork.status()); });
  const absl::Status status = result.get_future().get();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_EQ(store.states(), 1);
  small.Unregister(&thrower);
  // An exception that the callback throws is dropped.
  store.Delete(info.handle, "client", [](const absl::Status&) { throw std::bad_alloc(); });
  store.Flush();
  EXPECT_EQ(store.states(), 0);
}

// Calls `call` until no allocation fails in it: with its first allocation failing, then with its
// second, and so on. After each, `check` is called.
void FailEachAllocation(const std::function<void()>& call, const std::function<void()>& check) {
  bool failed = true;
  for (int64_t allocations = 0; failed; ++allocations) {
    SCOPED_TRACE(allocations);
    {
      FailingMemory failing(allocations);
      call();
      failed = failing.failed();
    }
    check();
  }
}

// In whichever allocation memory runs out, the call is answered once, and the counts stay right.
TEST_F(BusyStoreTest, MemoryThatRunsOutEndsTheCallAlone) {
  Open();
  const StateInfo disk = *Save(State(10), kOnDisk), memory = *Save(State(20));
  const engine::SavedState state = State(30);
  const StateStore::Done with_info = [&](const absl::StatusOr<StateInfo>&) { ++notified_; };
  const std::function<void(absl::Status)> done = [&](const absl::Status&) { ++notified_; };
  const std::string client = "client";
  BlockWorker();
  std::vector<std::function<void()>> calls;
  for (const StateRetention& retention : {StateRetention(), kOnDisk}) {
    calls.emplace_back([&, retention] { store_->Save(state, "m", "d1", retention, with_info); });
    for (const std::string& handle : {disk.handle, memory.handle}) {
      calls.emplace_back(
          [&, retention, handle] { store_->Fork(handle, retention, client, with_info); });
    }
  }
  for (const std::string& handle : {disk.handle, memory.handle}) {
    calls.emplace_back([&, handle] { store_->Delete(handle, client, done); });
  }
  int called = 0;
  for (const auto& call : calls) {
    FailEachAllocation(call, [&] { ++called; });
  }
  UnblockWorker();
  store_->Flush();
  EXPECT_EQ(notified_, called);
  EXPECT_EQ(store_->states(), store_->List("").size());
  Advance(hours(2));
  FailEachAllocation(
      [&] {
        engine::CatchExceptions([&] {
          store_->Get(disk.handle).status().IgnoreError();
        }).IgnoreError();
      },
      [] {});
  while (!store_->List("").empty()) continue;
  store_->Flush();
  EXPECT_EQ(store_->states() + store_->memory_bytes() + store_->disk_bytes(), 0);
  EXPECT_EQ(ledger_.used(), 0);
  EXPECT_THAT(Files(".state"), IsEmpty());
}

TEST_F(StateStoreTest, ManyThreadsAtOnce) {
  Open();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 20; ++i) {
        const int32_t first = 1 + 50 * thread + i;
        auto info = Save(State(first), {.time_to_live = {}, .on_disk = i % 4 == 0});
        ASSERT_TRUE(info.ok()) << info.status();
        auto fork = Fork(info->handle);
        ASSERT_TRUE(fork.ok()) << fork.status();
        EXPECT_TRUE(Delete(info->handle).ok());
        EXPECT_EQ(Tokens(fork->handle).front(), first);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store_->states(), 80);
  EXPECT_EQ(store_->List("").size(), 80);
}

}  // namespace
}  // namespace whipsnake::server
