// Compiled constraints are cached, bounded in memory, and released.
#include "engine/structured/constraint_cache.h"

#include "tests/engine/structured/support.h"

namespace whipsnake::engine {
namespace {

TEST(ConstraintCacheTest, CompilesOnce) {
  ConstraintCache cache(SmallVocabulary());
  EXPECT_EQ(cache.Find({Kind::kRegex, {"a+"}}), nullptr);
  const auto first = cache.GetOrCompile({Kind::kRegex, {"a+"}});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*cache.GetOrCompile({Kind::kRegex, {"a+"}}), *first);
  EXPECT_EQ(cache.Find({Kind::kRegex, {"a+"}}), *first);
  EXPECT_NE(*cache.GetOrCompile({Kind::kRegex, {"a*"}}), *first);
  EXPECT_NE(*cache.GetOrCompile({Kind::kChoices, {"a+"}}), *first);
  for (int i = 0; i < 70; ++i)
    cache.GetOrCompile({Kind::kRegex, {"a{" + std::to_string(i) + "}"}}).IgnoreError();
  EXPECT_NE(*cache.GetOrCompile({Kind::kRegex, {"a+"}}), *first) << "long unused";
  EXPECT_FALSE(cache.GetOrCompile({Kind::kRegex, {"("}}).ok());
}

TEST(ConstraintCacheTest, ConstraintsAreBookedAndReleased) {
  Ledger ledger(int64_t{8} << 20);
  {
    ConstraintCache cache(SmallVocabulary(), {.limits = {}, .ledger = &ledger});
    auto compiled = *cache.GetOrCompile({Kind::kRegex, {"a+"}});
    ASSERT_TRUE(cache.GetOrCompile({Kind::kRegex, {"b+"}}).ok());
    const int64_t both = ledger.used(Purpose::kStructured);
    EXPECT_GT(both, compiled->memory_bytes());
    EXPECT_EQ(ledger.used(), both);
    // When the memory is needed elsewhere, constraints that no request uses are released.
    EXPECT_TRUE(ledger.CheckFits(ledger.limit() - compiled->memory_bytes(), "weights").ok());
    EXPECT_EQ(ledger.used(Purpose::kStructured), compiled->memory_bytes());
    EXPECT_EQ(cache.Find({Kind::kRegex, {"b+"}}), nullptr);
    EXPECT_NE(cache.Find({Kind::kRegex, {"a+"}}), nullptr);
    EXPECT_FALSE(ledger.CheckFits(ledger.limit(), "more weights").ok()) << "one is in use";
  }
  EXPECT_EQ(ledger.used(), 0);
}

TEST(ConstraintCacheTest, TheMemoryOfAllConstraintsIsBounded) {
  ConstraintCache cache(SmallVocabulary(), {.max_bytes = 600 << 10, .limits = {}});
  std::vector<std::shared_ptr<Constraint>> in_use;
  absl::Status status;
  for (int i = 0; i < 64 && status.ok(); ++i) {
    const auto compiled = cache.GetOrCompile({Kind::kRegex, {"a{" + std::to_string(i) + "}"}});
    status = compiled.status();
    if (compiled.ok()) in_use.push_back(*compiled);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_GT(in_use.size(), 1u);
  in_use.clear();
  EXPECT_TRUE(cache.GetOrCompile({Kind::kRegex, {"b+"}}).ok()) << "none is in use";
}

}  // namespace
}  // namespace whipsnake::engine
