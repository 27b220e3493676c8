#include "engine/generate/prefix_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

#include "tests/engine/fakes/fake_model.h"

namespace whipsnake::engine {
namespace {

using Tokens = std::vector<int32_t>;

// A state that has seen `tokens` and takes `bytes`.
class SizedState : public FakeState {
 public:
  SizedState(Tokens tokens, int64_t bytes)
      : FakeState(std::make_shared<std::atomic<int>>(0)), bytes_(bytes) {
    history = std::move(tokens);
  }
  int64_t bytes() const override { return bytes_; }
  void AppendMemory(std::vector<MemoryPiece>& pieces) const override {
    pieces.push_back({this, bytes_});
  }

 private:
  const int64_t bytes_;
};

// A state of blocks of 32 tokens, 100 bytes each, that can be cut at any position.
class RewindableState : public FakeState {
 public:
  RewindableState(Tokens tokens, std::vector<const std::byte*> blocks)
      : FakeState(std::make_shared<std::atomic<int>>(0)), blocks_(std::move(blocks)) {
    history = std::move(tokens);
  }
  bool rewindable() const override { return true; }
  int64_t bytes() const override { return 100 * std::ssize(blocks_); }
  void AppendMemory(std::vector<MemoryPiece>& pieces) const override {
    for (const std::byte* block : blocks_) pieces.push_back({block, 100});
  }

 private:
  const std::vector<const std::byte*> blocks_;
};

void Insert(PrefixCache& cache, const Tokens& tokens, int64_t bytes = 100) {
  cache.Insert(tokens, std::make_shared<SizedState>(tokens, bytes));
}

// The tokens that the found state has seen.
Tokens Found(PrefixCache& cache, const Tokens& tokens) {
  const PrefixCache::Found found = cache.Find(tokens);
  if (found.state == nullptr) return {};
  EXPECT_TRUE(found.length == found.state->position() || found.state->rewindable());
  const Tokens& seen = static_cast<const FakeState&>(*found.state).history;
  return {seen.begin(), seen.begin() + found.length};
}

TEST(PrefixCacheTest, FindsTheLongestProperBeginning) {
  PrefixCache cache({});
  EXPECT_EQ(cache.Find(Tokens{1, 2}).state, nullptr);
  Insert(cache, {1, 2});
  Insert(cache, {1, 2, 3, 4});
  Insert(cache, {2});
  EXPECT_EQ(Found(cache, {1, 2, 3, 4, 5}), (Tokens{1, 2, 3, 4}));
  EXPECT_EQ(Found(cache, {1, 2, 3, 4}), (Tokens{1, 2}));  // one token remains to be read
  EXPECT_EQ(Found(cache, {1, 2, 4, 4, 5}), (Tokens{1, 2}));
  EXPECT_EQ(Found(cache, {2, 2}), (Tokens{2}));
  EXPECT_EQ(Found(cache, {1}), Tokens());
  EXPECT_EQ(Found(cache, {}), Tokens());
}

TEST(PrefixCacheTest, WhatWasNotUsedForLongestGoesFirst) {
  PrefixCache cache({.max_bytes = 3 * 104});
  Insert(cache, {1});
  Insert(cache, {2});
  Insert(cache, {3});
  EXPECT_EQ(cache.bytes(), 3 * 104);
  Found(cache, {1, 9});  // used
  Insert(cache, {2});    // inserted again
  Insert(cache, {4});
  EXPECT_EQ(cache.entries(), 3);
  EXPECT_EQ(Found(cache, {3, 9}), Tokens());
  EXPECT_EQ(Found(cache, {1, 9}), Tokens{1});
  EXPECT_EQ(Found(cache, {2, 9}), Tokens{2});
  EXPECT_EQ(Found(cache, {4, 9}), Tokens{4});
  Insert(cache, {5}, 1000);  // would not fit even alone
  EXPECT_EQ(cache.entries(), 3);
}

TEST(PrefixCacheTest, GivesMemoryBackWhereTheLedgerNeedsIt) {
  Ledger ledger(1000);
  PrefixCache cache({});
  ledger.Register(&cache);
  auto held = ledger.Allocate(900, Purpose::kStates, "a cached state");
  ASSERT_TRUE(held.ok());
  // A state that holds bytes of the ledger while it lives.
  struct BookedState : SizedState {
    BookedState(Tokens seen, Buffer bytes)
        : SizedState(std::move(seen), bytes.size()), buffer(std::move(bytes)) {}
    Buffer buffer;
  };
  cache.Insert(Tokens{1}, std::make_shared<BookedState>(Tokens{1}, *std::move(held)));
  EXPECT_EQ(ledger.used(), 900);
  EXPECT_FALSE(ledger.CheckFits(1001, "too much").ok());
  EXPECT_EQ(cache.entries(), 1) << "what can never fit costs nobody anything";
  EXPECT_TRUE(ledger.Allocate(500, Purpose::kWeights, "weights").ok());
  EXPECT_EQ(cache.entries(), 0);
  ledger.Unregister(&cache);
  EXPECT_FALSE(ledger.CheckFits(1001, "too much").ok());
}

TEST(PrefixCacheTest, ARewindableStateIsFoundWhereSequencesPart) {
  PrefixCache cache({});
  Tokens tokens(100);
  for (int32_t i = 0; i < 100; ++i) tokens[i] = i;
  std::byte memory[400];
  cache.Insert(tokens, std::make_shared<RewindableState>(
                           tokens, std::vector<const std::byte*>{memory, memory + 100, memory + 200,
                                                                 memory + 300}));
  for (const int64_t common : {32, 33, 63, 64, 96, 99}) {
    Tokens other(tokens.begin(), tokens.begin() + common);
    other.push_back(-1);
    EXPECT_EQ(std::ssize(Found(cache, other)), common);
  }
  EXPECT_EQ(std::ssize(Found(cache, tokens)), 99) << "one token is left to be read";
  EXPECT_EQ(Found(cache, {0, 1, 2, -1}), Tokens()) << "too little to be looked up by";
}

TEST(PrefixCacheTest, WhatStatesShareCountsOnce) {
  PrefixCache cache({.max_bytes = 1000});
  Tokens first(64, 1), second(64, 1);
  second[63] = 2;
  std::byte shared[100], a[100], b[100];
  cache.Insert(first,
               std::make_shared<RewindableState>(first, std::vector<const std::byte*>{shared, a}));
  EXPECT_EQ(cache.bytes(), 64 * 4 + 200);
  cache.Insert(second,
               std::make_shared<RewindableState>(second, std::vector<const std::byte*>{shared, b}));
  EXPECT_EQ(cache.bytes(), 2 * 64 * 4 + 300);
  EXPECT_EQ(cache.Reclaim(1), 64 * 4 + 100) << "the other one needs what they share";
  EXPECT_EQ(Found(cache, second), Tokens(63, 1));
  EXPECT_EQ(cache.Reclaim(1), 64 * 4 + 200);
  EXPECT_EQ(cache.bytes(), 0);
}

// Compares with a map of all inserted tokens. There are few different tokens, so that prefixes are
// shared.
TEST(PrefixCacheTest, AgreesWithAPlainSearch) {
  std::mt19937 random(1);
  PrefixCache cache({});
  std::map<Tokens, bool> inserted;
  const auto draw = [&] {
    Tokens tokens(1 + random() % 12);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 2) - (random() % 7 == 0);
    return tokens;
  };
  for (int i = 0; i < 3000; ++i) {
    const Tokens tokens = draw();
    if (i % 3 == 0) {
      Insert(cache, tokens, 1);
      inserted[tokens] = true;
    }
    Tokens expected;
    for (size_t length = 1; length < tokens.size(); ++length) {
      const Tokens beginning(tokens.begin(), tokens.begin() + length);
      if (inserted.contains(beginning)) expected = beginning;
    }
    ASSERT_EQ(Found(cache, tokens), expected);
  }
  EXPECT_EQ(cache.entries(), std::ssize(inserted));
  const int64_t bytes = cache.bytes();
  const int64_t half = cache.Reclaim(bytes / 2);
  EXPECT_GE(half, bytes / 2);
  EXPECT_EQ(cache.bytes(), bytes - half);
  EXPECT_EQ(cache.Reclaim(bytes), bytes - half);
  EXPECT_EQ(cache.bytes(), 0);
}

TEST(PrefixCacheTest, IsSharedBetweenThreads) {
  PrefixCache cache({.max_bytes = 50 * 104});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(thread);
      for (int i = 0; i < 2000; ++i) {
        const int32_t token = static_cast<int32_t>(random() % 100);
        if (i % 2 == 0) Insert(cache, {token});
        const Tokens found = Found(cache, {token, 1});
        EXPECT_TRUE(found.empty() || found == Tokens{token});
        if (i % 100 == 0) cache.Reclaim(300);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(cache.bytes(), 50 * 104);
}

}  // namespace
}  // namespace whipsnake::engine
