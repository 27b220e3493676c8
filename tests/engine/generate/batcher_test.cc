#include "engine/generate/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace whipsnake::engine {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

MATCHER_P2(Share, id, prompt_tokens, "") {
  return arg.id == static_cast<uint64_t>(id) && arg.prompt_tokens == prompt_tokens;
}
auto Decode(uint64_t id) { return Share(id, 0); }

class BatcherTest : public testing::Test {
 protected:
  absl::Status Add(uint64_t id, int64_t prompt_tokens,
                   RequestPriority priority = RequestPriority::kNormal, std::string client = "") {
    return batcher_->Add({id, prompt_tokens, priority, std::move(client), now_});
  }
  std::vector<BatchShare> Plan() { return batcher_->Plan(now_); }
  void Use(const BatcherOptions& options) { batcher_ = std::make_unique<Batcher>(options); }

  Clock::time_point now_;
  std::unique_ptr<Batcher> batcher_ = std::make_unique<Batcher>(BatcherOptions());
};

TEST_F(BatcherTest, HasNothingToDoWithoutRequests) { EXPECT_THAT(Plan(), IsEmpty()); }

TEST_F(BatcherTest, SequencesJoinAndLeaveBetweenSteps) {
  ASSERT_TRUE(Add(1, 3).ok());
  EXPECT_THAT(Plan(), ElementsAre(Share(1, 3)));
  ASSERT_TRUE(Add(2, 5).ok());
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Share(2, 5)));
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Decode(2)));
  batcher_->Remove(1);
  EXPECT_THAT(Plan(), ElementsAre(Decode(2)));
  batcher_->Remove(2);
  EXPECT_THAT(Plan(), IsEmpty());
}

TEST_F(BatcherTest, SequencesThatAreNotReadyAreLeftOut) {
  Use({.prefill_chunk_tokens = 100, .mixed_chunk_tokens = 10});
  for (const int id : {1, 2, 3}) ASSERT_TRUE(Add(id, 20).ok());
  const auto plan = [&](std::set<uint64_t> waiting) {
    return batcher_->Plan(now_, [=](uint64_t id) { return !waiting.contains(id); });
  };
  EXPECT_THAT(plan({1, 2}), ElementsAre(Share(3, 20)));
  EXPECT_THAT(plan({1, 3}), ElementsAre(Share(2, 20))) << "as if no sequence decoded";
  EXPECT_THAT(plan({2}), ElementsAre(Decode(3), Share(1, 10)));
  EXPECT_THAT(plan({1, 2, 3}), IsEmpty());
  EXPECT_THAT(plan({}), ElementsAre(Decode(2), Decode(3), Share(1, 10)));
}

TEST_F(BatcherTest, APromptIsReadInSmallerChunksBesideDecoding) {
  Use({.prefill_chunk_tokens = 100, .mixed_chunk_tokens = 10});
  ASSERT_TRUE(Add(1, 250).ok());
  EXPECT_THAT(Plan(), ElementsAre(Share(1, 100)));
  EXPECT_THAT(Plan(), ElementsAre(Share(1, 100)));
  EXPECT_THAT(Plan(), ElementsAre(Share(1, 50)));
  ASSERT_TRUE(Add(2, 10).ok());
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Share(2, 10)));
  ASSERT_TRUE(Add(3, 15).ok());
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Decode(2), Share(3, 10)));
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Decode(2), Share(3, 5)));
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Decode(2), Decode(3)));
}

TEST_F(BatcherTest, AShortPromptNeitherWaitsForALongOneNorStopsIt) {
  Use({.prefill_chunk_tokens = 100});
  ASSERT_TRUE(Add(1, 500).ok());
  EXPECT_THAT(Plan(), ElementsAre(Share(1, 100)));
  ASSERT_TRUE(Add(2, 30).ok());
  ASSERT_TRUE(Add(3, 15).ok());
  ASSERT_TRUE(Add(4, 40).ok());
  EXPECT_THAT(Plan(), ElementsAre(Share(3, 15), Share(2, 30), Share(4, 5), Share(1, 50)));
  EXPECT_THAT(Plan(), ElementsAre(Decode(2), Decode(3), Share(4, 16), Share(1, 16)));
}

TEST_F(BatcherTest, AnUrgentPromptIsReadFirst) {
  Use({.prefill_chunk_tokens = 100});
  ASSERT_TRUE(Add(1, 500).ok());
  ASSERT_TRUE(Add(2, 120, RequestPriority::kHigh).ok());
  EXPECT_THAT(Plan(), ElementsAre(Share(2, 100)));
  EXPECT_THAT(Plan(), ElementsAre(Share(2, 20), Share(1, 80)));
}

TEST_F(BatcherTest, TheQueueIsBoundedByRequestsAndByTokens) {
  Use({.max_running = 1, .max_waiting = 3, .max_waiting_tokens = 100});
  ASSERT_TRUE(Add(1, 1000).ok());  // an empty queue takes a request of any length
  EXPECT_EQ(Add(2, 1).code(), absl::StatusCode::kResourceExhausted);
  Plan();
  ASSERT_TRUE(Add(2, 60).ok());
  EXPECT_EQ(Add(3, 41).code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(Add(3, 40).ok());
  EXPECT_EQ(Add(4, 0).code(), absl::StatusCode::kOk);
  EXPECT_EQ(Add(5, 0).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(batcher_->waiting(), 3);
  batcher_->Remove(3);
  EXPECT_TRUE(Add(5, 0).ok());
}

TEST_F(BatcherTest, ADisplacedSequenceContinuesAfterTheUrgentOne) {
  Use({.max_running = 2, .prefill_chunk_tokens = 8, .mixed_chunk_tokens = 8});
  ASSERT_TRUE(Add(1, 1).ok());
  Plan();
  ASSERT_TRUE(Add(2, 20, RequestPriority::kLow).ok());
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Share(2, 8)));
  ASSERT_TRUE(Add(3, 2, RequestPriority::kHigh).ok());
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Share(3, 2)));
  EXPECT_EQ(batcher_->waiting(), 1);
  batcher_->Remove(3);
  // It continues where it stopped.
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Share(2, 8)));
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Share(2, 4)));
}

TEST_F(BatcherTest, RequestsOfEqualPriorityDoNotDisplaceEachOther) {
  Use({.max_running = 1, .aging = seconds(1)});
  ASSERT_TRUE(Add(1, 1).ok());
  Plan();
  ASSERT_TRUE(Add(2, 1).ok());
  now_ += seconds(100);
  EXPECT_THAT(Plan(), ElementsAre(Decode(1)));
}

TEST_F(BatcherTest, ARequestOfLowPriorityDoesNotStarve) {
  Use({.max_running = 1, .max_waiting = 1000, .aging = seconds(5)});
  ASSERT_TRUE(Add(1, 1, RequestPriority::kLow).ok());
  // One urgent request arrives per second, each of one step, and another always waits.
  ASSERT_TRUE(Add(2, 1, RequestPriority::kHigh).ok());
  uint64_t next = 3;
  for (int step = 0; step < 20; ++step, now_ += seconds(1)) {
    ASSERT_TRUE(Add(next++, 1, RequestPriority::kHigh).ok());
    const auto shares = Plan();
    ASSERT_EQ(shares.size(), 1u);
    if (shares[0].id == 1) {
      EXPECT_GE(step, 10);
      // Once it runs, it is not preempted.
      EXPECT_THAT(Plan(), ElementsAre(Decode(1)));
      return;
    }
    batcher_->Remove(shares[0].id);
  }
  FAIL() << "the one of low priority never ran";
}

TEST_F(BatcherTest, AClientWithManyRequestsGetsNoMoreThanOneWithFew) {
  Use({.max_running = 1, .max_waiting = 1000});
  for (uint64_t id = 0; id < 20; ++id) ASSERT_TRUE(Add(id, 10, {}, "many").ok());
  Plan();
  for (uint64_t id = 100; id < 103; ++id) ASSERT_TRUE(Add(id, 10, {}, "few").ok());
  std::vector<uint64_t> order;
  for (int i = 0; i < 7; ++i) {
    order.push_back(Plan().at(0).id);
    batcher_->Remove(order.back());
  }
  EXPECT_THAT(order, ElementsAre(0, 100, 1, 101, 2, 102, 3));
}

// A long backlog gains its client no more by its age than the others' requests do.
TEST_F(BatcherTest, AClientWithAnOldBacklogGetsNoMoreThanANewOne) {
  Use({.max_running = 1, .max_waiting = 1000, .aging = seconds(5)});
  for (uint64_t id = 0; id < 20; ++id)
    ASSERT_TRUE(Add(id, 10, RequestPriority::kNormal, "many").ok());
  std::vector<uint64_t> order;
  for (int step = 0; step < 16; ++step, now_ += seconds(2)) {
    if (step == 8) {
      for (uint64_t id = 100; id < 103; ++id)
        ASSERT_TRUE(Add(id, 10, RequestPriority::kNormal, "few").ok());
    }
    order.push_back(Plan().at(0).id);
    batcher_->Remove(order.back());
  }
  // The newcomers are equals after one aging. They have been given less; then "many" has waited for
  // one aging.
  EXPECT_THAT(std::vector(order.begin() + 11, order.end()), ElementsAre(100, 101, 11, 102, 12));
}

TEST_F(BatcherTest, IdleClientsNeitherGainCreditNorLoseTheirCount) {
  Use({.max_running = 1, .max_waiting = 1000});
  for (uint64_t id = 0; id < 10; ++id) ASSERT_TRUE(Add(id, 10, {}, "steady").ok());
  for (int i = 0; i < 5; ++i) batcher_->Remove(Plan().at(0).id);
  // A new client gets no credit for the 50 tokens that it missed: the two alternate at once.
  ASSERT_TRUE(Add(100, 10, {}, "newcomer").ok());
  ASSERT_TRUE(Add(101, 10, {}, "newcomer").ok());
  std::vector<uint64_t> order;
  for (int i = 0; i < 4; ++i) {
    order.push_back(Plan().at(0).id);
    batcher_->Remove(order.back());
  }
  EXPECT_THAT(order, ElementsAre(5, 100, 6, 101));
  // A client that leaves after using more than its share is not first when it returns.
  ASSERT_TRUE(Add(200, 1000, {}, "greedy").ok());
  while (Plan().at(0).id != 200) batcher_->Remove(Plan().at(0).id);
  batcher_->Remove(200);
  ASSERT_TRUE(Add(201, 10, {}, "greedy").ok());
  ASSERT_TRUE(Add(300, 10, {}, "steady").ok());
  EXPECT_NE(Plan().at(0).id, 201u);
}

TEST_F(BatcherTest, APostponedSequenceWaitsForAnotherToEnd) {
  ASSERT_TRUE(Add(1, 1).ok());
  Plan();
  ASSERT_TRUE(Add(2, 40).ok());
  ASSERT_TRUE(Add(3, 40).ok());
  const auto shares = Plan();
  ASSERT_THAT(shares, ElementsAre(Decode(1), Share(2, 32)));
  EXPECT_TRUE(batcher_->Postpone(std::span(shares).subspan(1, 1)));
  EXPECT_EQ(batcher_->waiting(), 1);
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Share(3, 32)));
  batcher_->Remove(1);
  EXPECT_THAT(Plan(), ElementsAre(Share(3, 8), Share(2, 40)));
}

TEST_F(BatcherTest, PostponeReturnsFalseIfNoSequenceHoldsMemory) {
  ASSERT_TRUE(Add(1, 5).ok());
  ASSERT_TRUE(Add(2, 5).ok());
  const auto shares = Plan();
  EXPECT_FALSE(batcher_->Postpone(shares));
  EXPECT_EQ(batcher_->running(), 0);
  batcher_->Remove(2);
  EXPECT_THAT(Plan(), ElementsAre(Share(1, 5)));
}

// The urgent request took a place but found no memory, because the request that lost its place
// still holds it.
TEST_F(BatcherTest, ADisplacedSequenceRunsIfTheUrgentOneFindsNoMemory) {
  Use({.max_running = 1});
  ASSERT_TRUE(Add(1, 1).ok());
  Plan();
  ASSERT_TRUE(Add(2, 10, RequestPriority::kHigh).ok());
  const auto shares = Plan();
  ASSERT_THAT(shares, ElementsAre(Share(2, 10)));
  EXPECT_TRUE(batcher_->Postpone(shares));
  EXPECT_THAT(Plan(), ElementsAre(Decode(1)));
  batcher_->Remove(1);
  EXPECT_THAT(Plan(), ElementsAre(Share(2, 10)));
}

TEST_F(BatcherTest, SkippedTokensAreNotPlanned) {
  Use({.prefill_chunk_tokens = 100});
  ASSERT_TRUE(Add(1, 250).ok());
  ASSERT_THAT(Plan(), ElementsAre(Share(1, 100)));
  EXPECT_THAT(batcher_->Skip({1, 100}, 120), Share(1, 100));
  EXPECT_THAT(Plan(), ElementsAre(Share(1, 30)));
  ASSERT_TRUE(Add(2, 250).ok());
  ASSERT_THAT(Plan(), ElementsAre(Decode(1), Share(2, 32)));
  EXPECT_THAT(batcher_->Skip({2, 32}, 249), Share(2, 1));
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Decode(2)));
}

TEST_F(BatcherTest, AForkRunsBesideTheOriginal) {
  Use({.max_running = 2, .max_waiting = 1});
  ASSERT_TRUE(Add(1, 3).ok());
  Plan();
  batcher_->Fork(1, 2);
  batcher_->Fork(1, 3);  // the bound of the queue does not apply to forks
  EXPECT_THAT(Plan(), ElementsAre(Decode(1), Decode(3)));
  batcher_->Remove(1);
  EXPECT_THAT(Plan(), ElementsAre(Decode(3), Decode(2)));
  batcher_->Remove(2);
  batcher_->Remove(3);
  EXPECT_THAT(Plan(), IsEmpty());
}

// Under any load no sequence runs twice in a step, the budget holds, each prompt is read exactly
// once, and all sequences end.
TEST_F(BatcherTest, InvariantsHoldUnderRandomLoad) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](uint64_t n) { return static_cast<int64_t>(random() % n); };
    const BatcherOptions options{.max_running = 1 + below(6),
                                 .max_waiting = 1 + below(20),
                                 .max_waiting_tokens = 1 + below(500),
                                 .prefill_chunk_tokens = 1 + below(64),
                                 .mixed_chunk_tokens = 1 + below(16)};
    Use(options);
    struct Left {
      int64_t prompt, decode;
    };
    std::map<uint64_t, Left> left;
    uint64_t next = 0;
    for (int step = 0; step < 2000 && (step < 300 || !left.empty()); ++step, now_ += seconds(1)) {
      for (int64_t i = step < 300 ? below(3) : 0; i > 0; --i) {
        const int64_t prompt = 1 + below(100);
        const std::string client(1, static_cast<char>('a' + below(3)));
        if (Add(next, prompt, static_cast<RequestPriority>(below(3)), client).ok()) {
          left[next] = {prompt, below(10)};
        }
        ++next;
      }
      if (below(5) == 0 && !left.empty()) {
        const auto gone = std::next(left.begin(), below(left.size()));
        batcher_->Remove(gone->first);
        left.erase(gone);
      }
      const auto shares = Plan();
      ASSERT_EQ(shares.empty(), left.empty());
      std::set<uint64_t> seen;
      int64_t prompt_tokens = 0;
      bool decodes = false;
      for (const BatchShare& share : shares) {
        ASSERT_TRUE(seen.insert(share.id).second);
        Left& mine = left.at(share.id);
        ASSERT_EQ(share.prompt_tokens == 0, mine.prompt == 0);
        mine.prompt -= share.prompt_tokens;
        ASSERT_GE(mine.prompt, 0);
        prompt_tokens += share.prompt_tokens;
        decodes |= share.prompt_tokens == 0;
        if (mine.prompt == 0 && mine.decode-- == 0) {
          batcher_->Remove(share.id);
          left.erase(share.id);
        }
      }
      ASSERT_LE(std::ssize(shares), options.max_running);
      ASSERT_LE(prompt_tokens, decodes ? options.mixed_chunk_tokens : options.prefill_chunk_tokens);
      ASSERT_LE(batcher_->running(), options.max_running);
      ASSERT_EQ(batcher_->running() + batcher_->waiting(), std::ssize(left));
    }
    EXPECT_TRUE(left.empty()) << "seed " << seed;
  }
}

// Returns the number of sequences per client in a step. Client k has the ids from 100k to 100k +
// 99.
std::map<uint64_t, int> ByClient(const std::vector<BatchShare>& shares) {
  std::map<uint64_t, int> counts;
  for (const BatchShare& share : shares) ++counts[share.id / 100];
  return counts;
}

TEST_F(BatcherTest, ARequestOfManySequencesMakesRoomInTheNextStep) {
  Use({.max_running = 64});
  ASSERT_TRUE(Add(1, 1, {}, "many").ok());
  Plan();
  for (uint64_t id = 2; id <= 64; ++id) batcher_->Fork(1, id);
  EXPECT_EQ(Plan().size(), 64u);
  ASSERT_TRUE(Add(100, 1, {}, "one").ok());
  const auto shares = Plan();
  EXPECT_EQ(ByClient(shares)[1], 1);
  EXPECT_EQ(ByClient(shares)[0], 63);
  EXPECT_EQ(batcher_->waiting(), 1);
  // The sequence admitted last waits, and continues where it stopped when there is a place.
  EXPECT_EQ(std::ranges::count(shares, 2u, &BatchShare::id), 0);
  batcher_->Remove(100);
  EXPECT_THAT(Plan(), testing::Contains(Decode(2)));
}

TEST_F(BatcherTest, ClientsShareTheRunningSequencesEqually) {
  Use({.max_running = 12, .max_waiting = 100});
  for (uint64_t id = 0; id < 20; ++id) ASSERT_TRUE(Add(id, 1, {}, "a").ok());
  Plan();
  for (uint64_t id = 100; id < 120; ++id) ASSERT_TRUE(Add(id, 1, {}, "b").ok());
  for (uint64_t id = 200; id < 202; ++id) ASSERT_TRUE(Add(id, 1, {}, "c").ok());
  const auto first = ByClient(Plan());
  EXPECT_EQ(first.at(0), 5);
  EXPECT_EQ(first.at(1), 5);
  EXPECT_EQ(first.at(2), 2);
  // Places do not change while no request arrives or ends, for any length of time.
  const auto ids = [&] {
    std::set<uint64_t> running;
    for (const BatchShare& share : Plan()) running.insert(share.id);
    return running;
  };
  const auto running = ids();
  for (int step = 0; step < 100; ++step, now_ += seconds(1)) ASSERT_EQ(ids(), running);
  // The third client's places go to the others, and neither has fewer than before.
  batcher_->Remove(200);
  batcher_->Remove(201);
  const auto second = ByClient(Plan());
  EXPECT_EQ(second.at(0), 6);
  EXPECT_EQ(second.at(1), 6);
}

// A difference of one place moves no sequence: otherwise the two clients would take the place from
// each other forever.
TEST_F(BatcherTest, ADifferenceOfOneDisplacesNoSequence) {
  Use({.max_running = 3});
  for (const uint64_t id : {0, 1}) ASSERT_TRUE(Add(id, 1, {}, "a").ok());
  ASSERT_TRUE(Add(100, 1, {}, "b").ok());
  Plan();
  ASSERT_TRUE(Add(101, 1, {}, "b").ok());
  for (int step = 0; step < 50; ++step, now_ += seconds(1)) {
    EXPECT_THAT(Plan(), ElementsAre(Decode(0), Decode(1), Decode(100)));
  }
}

TEST_F(BatcherTest, PriorityComesBeforeEqualShares) {
  Use({.max_running = 4, .aging = seconds(1000)});
  for (uint64_t id = 0; id < 4; ++id) ASSERT_TRUE(Add(id, 1, RequestPriority::kHigh, "a").ok());
  Plan();
  ASSERT_TRUE(Add(100, 1, RequestPriority::kNormal, "b").ok());
  EXPECT_EQ(ByClient(Plan())[1], 0);
  ASSERT_TRUE(Add(101, 1, RequestPriority::kHigh, "b").ok());
  EXPECT_THAT(Plan(), ElementsAre(Decode(0), Decode(1), Decode(2), Share(101, 1)));
}

// Sequences admitted after a long wait count as urgent, but still get no more than their share.
TEST_F(BatcherTest, ALongWaitGainsNoMoreThanAnEqualShare) {
  Use({.max_running = 4, .aging = seconds(5)});
  ASSERT_TRUE(Add(0, 1, {}, "a").ok());
  Plan();
  now_ += seconds(100);
  for (uint64_t id = 1; id < 4; ++id) batcher_->Fork(0, id);
  EXPECT_EQ(Plan().size(), 4u);
  ASSERT_TRUE(Add(100, 1, {}, "b").ok());
  ASSERT_TRUE(Add(101, 1, {}, "b").ok());
  EXPECT_EQ(ByClient(Plan())[1], 2);
}

// The queue's bound counts requests; waiting sequences that have already run do not count.
TEST_F(BatcherTest, WaitingSequencesOfARequestDoNotFillTheQueue) {
  Use({.max_running = 1, .max_waiting = 2});
  ASSERT_TRUE(Add(1, 1, {}, "a").ok());
  Plan();
  for (uint64_t id = 2; id < 10; ++id) batcher_->Fork(1, id);
  EXPECT_TRUE(Add(100, 1, {}, "b").ok());
  EXPECT_TRUE(Add(101, 1, {}, "b").ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Add(102, 1, {}, "b")));
}

}  // namespace
}  // namespace whipsnake::engine
