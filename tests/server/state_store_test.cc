#include "server/registry/state_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "engine/base/status.h"
#include "tests/engine/fakes/fake_model.h"

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
    options_.now = [this] { return now_; };
  }

  void Open() {
    store_.reset();
    store_ = std::make_unique<StateStore>(options_, &ledger_);
  }

  // Of a sequence that begins with `first` and whose last token was not read.
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
    store_->Fork(handle, retention,
                 [&](absl::StatusOr<StateInfo> info) { result.set_value(std::move(info)); });
    return result.get_future().get();
  }

  // The tokens of what the handle stands for, if it can be continued.
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
  std::chrono::system_clock::time_point now_ =
      std::chrono::system_clock::from_time_t(1'700'000'000);
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
  EXPECT_EQ(ledger_.used(), 28);  // what is on disk takes no memory
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
      EXPECT_TRUE(store_->Delete(info.handle).ok());
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
  EXPECT_TRUE(store_->Delete(deleted.handle).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Delete(deleted.handle)));
  EXPECT_EQ(Files(".state").size(), 1);
  now_ += seconds(5);
  EXPECT_TRUE(absl::IsNotFound(store_->Get(soon.handle).status()));
  EXPECT_TRUE(store_->Get(later.handle).ok());
  EXPECT_THAT(Files(".state"), IsEmpty());
  now_ += seconds(4);
  EXPECT_THAT(store_->List(""), IsEmpty());
  EXPECT_EQ(store_->memory_bytes() + store_->disk_bytes() + store_->states() + ledger_.used(), 0);
}

TEST_F(StateStoreTest, WhatExpiredWhileNobodyServedIsDeletedAtTheStart) {
  Open();
  Save(State(10), kOnDisk).IgnoreError();
  store_.reset();
  now_ += hours(2);
  Open();
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
  EXPECT_TRUE(store_->Delete(first.handle).ok());
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

// Any byte that is changed, and any that is missing or too much.
TEST_F(StateStoreTest, ADamagedFileIsSetAsideAndNeverServed) {
  Open();
  const StateInfo info = *Save(State(10), kOnDisk);
  const fs::path path = directory_ / (info.handle + ".state");
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  };
  std::vector<std::string> damaged = {whole.substr(0, whole.size() - 1), whole + "x", "",
                                      whole.substr(0, 20)};
  for (size_t i = 0; i < whole.size(); ++i) {
    if (i == 6 || i == 7) continue;  // the version: below
    damaged.push_back(whole);
    damaged.back()[i] ^= 0x10;
  }
  for (const std::string& bytes : damaged) {
    // While it serves:
    write(whole);
    Open();
    write(bytes);
    EXPECT_THAT(Tokens(info.handle), IsEmpty());
    EXPECT_TRUE(absl::IsNotFound(store_->Get(info.handle).status()));
    ASSERT_EQ(Files(".corrupt").size(), 1);
    EXPECT_THAT(Files(".state"), IsEmpty());
    fs::remove(directory_ / Files(".corrupt").front());
    // And at the start, or at the latest when it is used:
    write(bytes);
    Open();
    EXPECT_THAT(Tokens(info.handle), IsEmpty());
    ASSERT_EQ(Files(".corrupt").size(), 1);
    fs::remove(directory_ / Files(".corrupt").front());
  }
  // What a newer server wrote is left alone.
  std::string newer = whole;
  newer[7] = '9';
  write(newer);
  Open();
  EXPECT_THAT(Tokens(info.handle), IsEmpty());
  EXPECT_THAT(Files(".corrupt"), IsEmpty());
  EXPECT_EQ(Files(".state").size(), 1);
}

TEST_F(StateStoreTest, AFileThatCannotBeWrittenIsAnErrorAndTakesNoRoom) {
  Open();
  fs::remove_all(directory_);
  EXPECT_FALSE(Save(State(10), kOnDisk).ok());
  EXPECT_EQ(store_->states() + store_->disk_bytes(), 0);
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
        EXPECT_TRUE(store_->Delete(info->handle).ok());
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
