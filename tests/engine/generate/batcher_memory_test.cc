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
class Simulation {
 public:
  static constexpr Clock::duration kStep = std::chrono::milliseconds(10);

  Simulation(const BatcherOptions& options, int64_t bytes) : batcher_(options), free_(bytes) {}

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
    std::vector<BatchShare> postponed, running;
    for (const BatchShare& share : batcher_.Plan(now_)) {
      auto& [request, has_memory] = requests_.at(share.id);
      if (!has_memory && request.bytes > free_) {
        postponed.push_back(share);
        continue;
      }
      if (!std::exchange(has_memory, true)) free_ -= request.bytes;
      running.push_back(share);
      ran.push_back(share.id);
    }
    if (!postponed.empty()) batcher_.Postpone(postponed);
    for (const BatchShare& share : running) Advance(share);
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

TEST(BatcherMemoryTest, ReturnedMemoryIsKeptForTheBlockingRequest) {
  Simulation simulation({}, 10);
  const uint64_t first = simulation.Add({.bytes = 5, .decode = 3});
  EXPECT_THAT(simulation.Step(), ElementsAre(first));
  const uint64_t large = simulation.Add({.bytes = 8});
  simulation.Wait(BatcherOptions().aging);
  EXPECT_THAT(simulation.Step(), ElementsAre(first));
  const uint64_t small = simulation.Add({.bytes = 5});
  EXPECT_THAT(simulation.Step(), ElementsAre(first))
      << "although there is memory for the small one";
  EXPECT_THAT(simulation.Step(), ElementsAre(first));
  EXPECT_THAT(simulation.Step(), ElementsAre(large)) << "which is tried alone";
  EXPECT_THAT(simulation.Step(), ElementsAre(large));
  EXPECT_THAT(simulation.Step(), ElementsAre(small));
}

TEST(BatcherMemoryTest, OthersStartBeforeARequestWithoutMemoryForOneAging) {
  Simulation simulation({.aging = 10 * Simulation::kStep}, 10);
  const uint64_t first = simulation.Add({.bytes = 5, .decode = 30});
  simulation.Step();
  const uint64_t large = simulation.Add({.bytes = 8});
  EXPECT_THAT(simulation.Step(), ElementsAre(first));
  const uint64_t small = simulation.Add({.bytes = 5});
  EXPECT_THAT(simulation.Step(), ElementsAre(first, small));
  simulation.Wait(10 * Simulation::kStep);
  const uint64_t late = simulation.Add({.bytes = 1});
  while (!simulation.has_ended(first)) EXPECT_THAT(simulation.Step(), Not(Contains(late)));
  EXPECT_TRUE(simulation.has_ended(small));
  EXPECT_THAT(simulation.Step(), ElementsAre(large));
}

// Otherwise many large requests would keep all others out for as long as they come.
TEST(BatcherMemoryTest, AfterBlockingAllMayStartForOneAging) {
  Simulation simulation({.aging = 10 * Simulation::kStep}, 10);
  const uint64_t first = simulation.Add({.bytes = 5, .decode = 15});
  simulation.Step();
  const uint64_t one = simulation.Add({.bytes = 8, .decode = 100});
  simulation.Add({.bytes = 8});
  simulation.Wait(10 * Simulation::kStep);
  while (!simulation.has_ended(first)) simulation.Step();
  while (!simulation.has_begun(one)) simulation.Step();
  EXPECT_THAT(simulation.Step(), ElementsAre(one));
  const uint64_t small = simulation.Add({.bytes = 1});
  EXPECT_THAT(simulation.Step(), ElementsAre(one, small));
  simulation.Wait(10 * Simulation::kStep);
  const uint64_t late = simulation.Add({.bytes = 1});
  EXPECT_THAT(simulation.Step(), Not(Contains(late))) << "the other large one has its turn";
}

// A client cannot shorten the time between bars by taking its request back.
TEST(BatcherMemoryTest, BlockingEndsWithTheBlockingRequest) {
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

TEST(BatcherMemoryTest, RequestsBeforeTheBlockingOneAreNotBlocked) {
  Simulation simulation({}, 10);
  const uint64_t first = simulation.Add({.bytes = 5, .decode = 100, .client = "a"});
  simulation.Step();
  const uint64_t large = simulation.Add({.bytes = 8, .client = "a"});
  EXPECT_THAT(simulation.Step(), ElementsAre(first));
  const uint64_t urgent = simulation.Add({.bytes = 1, .priority = RequestPriority::kHigh});
  EXPECT_THAT(simulation.Step(), AllOf(Contains(urgent), Not(Contains(large))));
  simulation.Wait(std::chrono::seconds(20));
  const uint64_t late =
      simulation.Add({.bytes = 1, .priority = RequestPriority::kHigh, .client = "a"});
  EXPECT_THAT(simulation.Step(), Not(Contains(late)))
      << "the large one has risen to the same priority";
}

// Further sequences of a started request use memory that it already has, and it releases that
// memory sooner if it continues.
TEST(BatcherMemoryTest, SequencesOfAStartedRequestAreNotBlocked) {
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
TEST(BatcherMemoryTest, NoRequestBlocksIfNoSequenceHoldsMemory) {
  Simulation simulation({}, 10);
  simulation.TakeMemory(4);
  const uint64_t large = simulation.Add({.bytes = 8});
  simulation.Wait(BatcherOptions().aging);
  EXPECT_THAT(simulation.Step(), ElementsAre());
  const uint64_t small = simulation.Add({.bytes = 2, .decode = 3});
  EXPECT_THAT(simulation.Step(), ElementsAre(small));
  simulation.TakeMemory(-4);
  for (int steps = 0; !simulation.has_begun(large); ++steps) {
    ASSERT_LT(steps, 10);
    simulation.Step();
  }
}

// There is always memory for the small requests, and more of them always arrive, also urgent ones
// of clients that have never been served.
TEST(BatcherMemoryTest, ALargeRequestStartsUnderASteadyLoadOfSmallOnes) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto from = [&](int64_t low, int64_t high) {
      return low + static_cast<int64_t>(random() % (high - low + 1));
    };
    const int64_t min_priority = from(0, 1);
    const bool fresh_names = from(0, 1) == 1;
    int64_t names = 0;
    const auto client = [&] { return std::string(1, static_cast<char>('a' + from(0, 2))); };
    const int64_t aging_steps = from(10, 100);
    Simulation simulation({.max_running = from(2, 30),
                           .max_waiting = 100'000,
                           .aging = aging_steps * Simulation::kStep},
                          100);
    const auto add_small = [&] {
      simulation.Add({.bytes = from(5, 20),
                      .prompt = from(1, 10),
                      .decode = from(1, 10),
                      .priority = static_cast<RequestPriority>(from(min_priority, 2)),
                      .client = fresh_names ? std::to_string(names++) : client()});
    };
    const uint64_t served = simulation.Add({.bytes = 1, .decode = 100, .client = "b"});
    for (int step = 0; step < 20 || !simulation.has_ended(served); ++step) {
      if (simulation.size() < 60) add_small();
      simulation.Step();
    }
    const uint64_t large =
        simulation.Add({.bytes = from(90, 100), .prompt = from(1, 30), .client = "b"});
    // It waits for its turn behind earlier requests, and for the running ones to end.
    int steps = 0, idle = 0;
    for (; steps < 1000 && !simulation.has_begun(large); ++steps) {
      while (simulation.size() < 60) add_small();
      // Urgent requests may take all places and find no memory. Each of the 60 is tried once.
      idle = simulation.Step().empty() ? idle + 1 : 0;
      EXPECT_LE(idle, 30) << "some sequence can always run";
    }
    ASSERT_LT(steps, 4 * aging_steps + 400);
    for (steps = 0; steps < 20'000 && !simulation.idle(); ++steps) simulation.Step();
    EXPECT_TRUE(simulation.idle());
  }
}

// With enough memory and a bounded queue, whatever arrives.
TEST(BatcherMemoryTest, EachRequestStartsWithinABoundedTime) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto from = [&](int64_t low, int64_t high) {
      return low + static_cast<int64_t>(random() % (high - low + 1));
    };
    const int64_t places = from(1, 12), max_waiting = from(1, 30), aging_steps = from(5, 50);
    const int64_t max_prompt = from(1, 60), max_decode = from(1, 10);
    const int64_t max_priority = from(0, 2), fresh_names = from(0, 2);
    Simulation simulation(
        {.max_running = places, .mixed_chunk_tokens = 16, .aging = aging_steps * Simulation::kStep},
        100);
    int64_t names = 0;
    const auto add = [&](RequestPriority priority, std::string client) {
      return simulation.Add({.prompt = from(1, max_prompt),
                             .decode = from(1, max_decode),
                             .priority = priority,
                             .client = std::move(client)});
    };
    const auto add_any = [&] {
      const bool fresh = fresh_names == 2 || from(0, fresh_names) == 1;
      add(static_cast<RequestPriority>(from(0, max_priority)),
          fresh ? std::to_string(names++) : std::string(1, static_cast<char>('a' + from(0, 2))));
    };
    const uint64_t served = add(RequestPriority::kHigh, "a");
    while (!simulation.has_ended(served)) {
      while (simulation.waiting() < max_waiting) add_any();
      simulation.Step();
    }
    const int64_t priority = from(0, 2);
    const uint64_t one = add(static_cast<RequestPriority>(priority), "a");
    int64_t steps = 0;
    for (; steps < 2000 && !simulation.has_begun(one); ++steps) {
      while (simulation.waiting() < max_waiting) add_any();
      simulation.Step();
    }
    // A running request lasts at most this long: half of a step's tokens go to one prompt.
    const int64_t max_steps_running = max_decode + 2 + places * (max_prompt / 8 + 1);
    ASSERT_LT(steps, (priority + 2) * aging_steps + (max_waiting + 2) * max_steps_running);
  }
}

}  // namespace
}  // namespace whipsnake::engine
