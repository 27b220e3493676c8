// With too little memory, a request that needs much of it still starts, however many small ones
// arrive.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/generate/batcher.h"

namespace whipsnake::engine {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;

struct Request {
  int64_t bytes = 0;
  int64_t prompt = 1;
  int64_t decode = 1;
  RequestPriority priority = RequestPriority::kNormal;
  std::string client = "";
};

// A generator without a model: requests take memory when they start and release it at their end.
class Machine {
 public:
  Machine(const BatcherOptions& options, int64_t bytes) : batcher_(options), free_(bytes) {}

  // Returns the request's id.
  uint64_t Add(const Request& request) {
    const uint64_t id = next_id_++;
    EXPECT_TRUE(batcher_.Add({id, request.prompt, request.priority, request.client, now_}).ok());
    requests_[id] = {request, /*has_memory=*/false};
    return id;
  }

  // Runs the next step and returns the ids of the requests that ran.
  std::vector<uint64_t> Step() {
    now_ += std::chrono::milliseconds(10);
    std::vector<uint64_t> ran;
    std::vector<BatchShare> without, with;
    for (const BatchShare& share : batcher_.Plan(now_)) {
      auto& [request, has_memory] = requests_.at(share.id);
      if (!has_memory && request.bytes > free_) {
        without.push_back(share);
        continue;
      }
      if (!std::exchange(has_memory, true)) free_ -= request.bytes;
      with.push_back(share);
      ran.push_back(share.id);
    }
    if (!without.empty()) batcher_.Postpone(without);
    for (const BatchShare& share : with) Advance(share);
    return ran;
  }

  bool has_begun(uint64_t id) const {
    const auto found = requests_.find(id);
    return found == requests_.end() || found->second.second;
  }
  bool idle() const { return requests_.empty(); }
  void TakeMemory(int64_t bytes) { free_ -= bytes; }
  void Wait(Clock::duration duration) { now_ += duration; }

 private:
  void Advance(const BatchShare& share) {
    Request& request = requests_.at(share.id).first;
    request.prompt -= share.prompt_tokens;
    if (request.prompt > 0 || request.decode-- > 0) return;
    free_ += request.bytes;
    batcher_.Remove(share.id);
    requests_.erase(share.id);
  }

  Batcher batcher_;
  int64_t free_;
  Clock::time_point now_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::pair<Request, bool>> requests_;  // and whether each has its memory
};

TEST(BatcherMemoryTest, WhatIsGivenBackIsForTheOneThatFoundNone) {
  Machine machine({}, 10);
  const uint64_t first = machine.Add({.bytes = 5, .decode = 3});
  EXPECT_THAT(machine.Step(), ElementsAre(first));
  const uint64_t large = machine.Add({.bytes = 8});
  EXPECT_THAT(machine.Step(), ElementsAre(first));
  const uint64_t small = machine.Add({.bytes = 5});
  EXPECT_THAT(machine.Step(), ElementsAre(first)) << "there is memory for the small one";
  EXPECT_THAT(machine.Step(), ElementsAre(first));
  EXPECT_THAT(machine.Step(), ElementsAre(large)) << "which is tried alone";
  EXPECT_THAT(machine.Step(), ElementsAre(large));
  EXPECT_THAT(machine.Step(), ElementsAre(small));
}

TEST(BatcherMemoryTest, WhoComesBeforeTheOneThatFoundNoneIsNotBarred) {
  Machine machine({}, 10);
  const uint64_t first = machine.Add({.bytes = 5, .decode = 100, .client = "a"});
  machine.Step();
  const uint64_t large = machine.Add({.bytes = 8, .client = "a"});
  EXPECT_THAT(machine.Step(), ElementsAre(first));
  const uint64_t urgent = machine.Add({.bytes = 1, .priority = RequestPriority::kHigh});
  EXPECT_THAT(machine.Step(), AllOf(Contains(urgent), Not(Contains(large))));
  machine.Wait(std::chrono::seconds(20));
  const uint64_t late =
      machine.Add({.bytes = 1, .priority = RequestPriority::kHigh, .client = "a"});
  EXPECT_THAT(machine.Step(), Not(Contains(late))) << "who waited long is as urgent";
}

// Further sequences of a started request use memory that it already has, and it releases that
// memory sooner if it continues.
TEST(BatcherMemoryTest, SequencesOfWhatHasBegunAreNotBarred) {
  Batcher batcher({});
  Clock::time_point now;
  ASSERT_TRUE(batcher.Add({1, 1, {}, "", now}).ok());
  batcher.Plan(now);
  ASSERT_TRUE(batcher.Add({2, 1, {}, "", now}).ok());
  const auto shares = batcher.Plan(now);
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_TRUE(batcher.Postpone(std::span(shares).last(1)));
  batcher.Fork(1, 3);
  const auto next = batcher.Plan(now);
  EXPECT_EQ(std::ranges::count(next, 3u, &BatchShare::id), 1);
}

// The memory is held outside the batcher, so the small request need not wait for the large one.
TEST(BatcherMemoryTest, WhereNobodyCanGiveMemoryBackNobodyIsBarred) {
  Machine machine({}, 10);
  machine.TakeMemory(4);
  const uint64_t large = machine.Add({.bytes = 8});
  EXPECT_THAT(machine.Step(), ElementsAre());
  const uint64_t small = machine.Add({.bytes = 2, .decode = 3});
  EXPECT_THAT(machine.Step(), ElementsAre(small));
  machine.TakeMemory(-4);
  for (int steps = 0; !machine.has_begun(large); ++steps) {
    ASSERT_LT(steps, 10);
    machine.Step();
  }
}

// There is always memory for the small requests, and more of them always arrive.
TEST(BatcherMemoryTest, ALargeRequestStartsHoweverManySmallOnesCome) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    std::mt19937_64 random(seed);
    const auto from = [&](int64_t least, int64_t most) {
      return least + static_cast<int64_t>(random() % (most - least + 1));
    };
    const auto client = [&] { return std::string(1, static_cast<char>('a' + from(0, 2))); };
    Machine machine({.max_running = from(2, 30), .max_waiting = 100'000}, 100);
    const auto add_small = [&] {
      machine.Add({.bytes = from(5, 20),
                   .prompt = from(1, 10),
                   .decode = from(1, 10),
                   .priority = static_cast<RequestPriority>(from(1, 2)),
                   .client = client()});
    };
    for (int step = 0; step < 20; ++step) {
      for (int i = 0; i < 3; ++i) add_small();
      machine.Step();
    }
    const uint64_t large =
        machine.Add({.bytes = from(90, 100), .prompt = from(1, 30), .client = client()});
    // It waits for its turn behind earlier requests, and for the running ones to end.
    int steps = 0;
    for (; steps < 2000 && !machine.has_begun(large); ++steps) {
      for (int i = 0; i < 2; ++i) add_small();
      EXPECT_FALSE(machine.Step().empty()) << "somebody always can run";
    }
    EXPECT_LT(steps, 300) << "seed " << seed;
    for (steps = 0; steps < 20'000 && !machine.idle(); ++steps) machine.Step();
    EXPECT_TRUE(machine.idle()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace whipsnake::engine
