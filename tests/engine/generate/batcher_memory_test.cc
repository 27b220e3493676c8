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
  static constexpr Clock::duration kStep = std::chrono::milliseconds(10);

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
    now_ += kStep;
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
  bool has_ended(uint64_t id) const { return !requests_.contains(id); }
  int64_t size() const { return std::ssize(requests_); }
  int64_t waiting() const { return batcher_.waiting(); }
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
  machine.Wait(BatcherOptions().aging);
  EXPECT_THAT(machine.Step(), ElementsAre(first));
  const uint64_t small = machine.Add({.bytes = 5});
  EXPECT_THAT(machine.Step(), ElementsAre(first)) << "there is memory for the small one";
  EXPECT_THAT(machine.Step(), ElementsAre(first));
  EXPECT_THAT(machine.Step(), ElementsAre(large)) << "which is tried alone";
  EXPECT_THAT(machine.Step(), ElementsAre(large));
  EXPECT_THAT(machine.Step(), ElementsAre(small));
}

TEST(BatcherMemoryTest, TheOneThatFoundNoneIsPassedForOneAgingOnly) {
  Machine machine({.aging = 10 * Machine::kStep}, 10);
  const uint64_t first = machine.Add({.bytes = 5, .decode = 30});
  machine.Step();
  const uint64_t large = machine.Add({.bytes = 8});
  EXPECT_THAT(machine.Step(), ElementsAre(first));
  const uint64_t small = machine.Add({.bytes = 5});
  EXPECT_THAT(machine.Step(), ElementsAre(first, small));
  machine.Wait(10 * Machine::kStep);
  const uint64_t late = machine.Add({.bytes = 1});
  while (!machine.has_ended(first)) EXPECT_THAT(machine.Step(), Not(Contains(late)));
  EXPECT_TRUE(machine.has_ended(small));
  EXPECT_THAT(machine.Step(), ElementsAre(large));
}

// Otherwise many large requests would keep all others out for as long as they come.
TEST(BatcherMemoryTest, AfterABarAllMayStartForOneAging) {
  Machine machine({.aging = 10 * Machine::kStep}, 10);
  const uint64_t first = machine.Add({.bytes = 5, .decode = 15});
  machine.Step();
  const uint64_t one = machine.Add({.bytes = 8, .decode = 100});
  machine.Add({.bytes = 8});
  machine.Wait(10 * Machine::kStep);
  while (!machine.has_ended(first)) machine.Step();
  while (!machine.has_begun(one)) machine.Step();
  EXPECT_THAT(machine.Step(), ElementsAre(one));
  const uint64_t small = machine.Add({.bytes = 1});
  EXPECT_THAT(machine.Step(), ElementsAre(one, small));
  machine.Wait(10 * Machine::kStep);
  const uint64_t late = machine.Add({.bytes = 1});
  EXPECT_THAT(machine.Step(), Not(Contains(late))) << "the other large one has its turn";
}

// A client cannot shorten the time between bars by taking its request back.
TEST(BatcherMemoryTest, ABarEndsWithTheRequestThatBars) {
  Batcher batcher({});
  Clock::time_point now;
  ASSERT_TRUE(batcher.Add({1, 1, {}, "", now}).ok());
  batcher.Plan(now);
  for (const uint64_t id : {2, 3}) ASSERT_TRUE(batcher.Add({id, 1, {}, "", now}).ok());
  now += BatcherOptions().aging;
  const auto shares = batcher.Plan(now);
  ASSERT_EQ(shares.size(), 3u);
  EXPECT_TRUE(batcher.Postpone(std::span(shares).last(2)));
  ASSERT_TRUE(batcher.Add({4, 1, {}, "", now}).ok());
  EXPECT_EQ(batcher.Plan(now).size(), 1u);
  batcher.Remove(2);
  EXPECT_EQ(batcher.Plan(now).size(), 3u) << "the third is tried again, and the fourth starts";
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
  now += BatcherOptions().aging;
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
  machine.Wait(BatcherOptions().aging);
  EXPECT_THAT(machine.Step(), ElementsAre());
  const uint64_t small = machine.Add({.bytes = 2, .decode = 3});
  EXPECT_THAT(machine.Step(), ElementsAre(small));
  machine.TakeMemory(-4);
  for (int steps = 0; !machine.has_begun(large); ++steps) {
    ASSERT_LT(steps, 10);
    machine.Step();
  }
}

// There is always memory for the small requests, and more of them always arrive, also urgent ones
// of clients that have never been served.
TEST(BatcherMemoryTest, ALargeRequestStartsHoweverManySmallOnesCome) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto from = [&](int64_t least, int64_t most) {
      return least + static_cast<int64_t>(random() % (most - least + 1));
    };
    const int64_t most_urgent = from(0, 1);
    const bool fresh_names = from(0, 1) == 1;
    int64_t names = 0;
    const auto client = [&] { return std::string(1, static_cast<char>('a' + from(0, 2))); };
    const int64_t aging_steps = from(10, 100);
    Machine machine(
        {.max_running = from(2, 30), .max_waiting = 100'000, .aging = aging_steps * Machine::kStep},
        100);
    const auto add_small = [&] {
      machine.Add({.bytes = from(5, 20),
                   .prompt = from(1, 10),
                   .decode = from(1, 10),
                   .priority = static_cast<RequestPriority>(from(most_urgent, 2)),
                   .client = fresh_names ? std::to_string(names++) : client()});
    };
    const uint64_t served = machine.Add({.bytes = 1, .decode = 100, .client = "b"});
    for (int step = 0; step < 20 || !machine.has_ended(served); ++step) {
      if (machine.size() < 60) add_small();
      machine.Step();
    }
    const uint64_t large =
        machine.Add({.bytes = from(90, 100), .prompt = from(1, 30), .client = "b"});
    // It waits for its turn behind earlier requests, and for the running ones to end.
    int steps = 0, idle = 0;
    for (; steps < 1000 && !machine.has_begun(large); ++steps) {
      while (machine.size() < 60) add_small();
      // Urgent requests may take all places and find no memory. Each of the 60 is tried once.
      idle = machine.Step().empty() ? idle + 1 : 0;
      EXPECT_LE(idle, 30) << "somebody always can run";
    }
    ASSERT_LT(steps, 4 * aging_steps + 400);
    for (steps = 0; steps < 20'000 && !machine.idle(); ++steps) machine.Step();
    EXPECT_TRUE(machine.idle());
  }
}

// With enough memory and a bounded queue, whatever arrives.
TEST(BatcherMemoryTest, EachRequestStartsWithinABoundedTime) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto from = [&](int64_t least, int64_t most) {
      return least + static_cast<int64_t>(random() % (most - least + 1));
    };
    const int64_t places = from(1, 12), most_waiting = from(1, 30), aging_steps = from(5, 50);
    const int64_t most_prompt = from(1, 60), most_decode = from(1, 10);
    const int64_t least_urgent = from(0, 2), fresh_names = from(0, 2);
    Machine machine(
        {.max_running = places, .mixed_chunk_tokens = 16, .aging = aging_steps * Machine::kStep},
        100);
    int64_t names = 0;
    const auto add = [&](RequestPriority priority, std::string client) {
      return machine.Add({.prompt = from(1, most_prompt),
                          .decode = from(1, most_decode),
                          .priority = priority,
                          .client = std::move(client)});
    };
    const auto add_any = [&] {
      const bool fresh = fresh_names == 2 || from(0, fresh_names) == 1;
      add(static_cast<RequestPriority>(from(0, least_urgent)),
          fresh ? std::to_string(names++) : std::string(1, static_cast<char>('a' + from(0, 2))));
    };
    const uint64_t served = add(RequestPriority::kHigh, "a");
    while (!machine.has_ended(served)) {
      while (machine.waiting() < most_waiting) add_any();
      machine.Step();
    }
    const int64_t priority = from(0, 2);
    const uint64_t one = add(static_cast<RequestPriority>(priority), "a");
    int64_t steps = 0;
    for (; steps < 2000 && !machine.has_begun(one); ++steps) {
      while (machine.waiting() < most_waiting) add_any();
      machine.Step();
    }
    // A running request lasts at most this long: half of a step's tokens go to one prompt.
    const int64_t lasts = most_decode + 2 + places * (most_prompt / 8 + 1);
    ASSERT_LT(steps, (priority + 2) * aging_steps + (most_waiting + 2) * lasts);
  }
}

}  // namespace
}  // namespace whipsnake::engine
