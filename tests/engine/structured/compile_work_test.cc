// The work to compile a schema is counted and bounded. The tests count steps, not time.
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "engine/structured/json_schema.h"
#include "engine/structured/text_overlap.h"
#include "gtest/gtest.h"

namespace whipsnake::engine {
namespace {

struct Compilation {
  absl::Status status;
  int64_t steps = 0;
};

Compilation CompileCounted(const std::string& schema) {
  ExpressionPool pool;
  Compilation result;
  result.status = CompileJsonSchema(schema, "json_schema", pool).status();
  result.steps = pool.work_spent();
  return result;
}

// A list of `count` schemas, made by make(i).
std::string ListOf(int count, const auto& make) {
  std::vector<std::string> schemas;
  for (int i = 0; i < count; ++i) schemas.push_back(make(i));
  return absl::StrCat("[", absl::StrJoin(schemas, ","), "]");
}

std::string OneOfPatterns(int count) {
  return absl::StrCat(
      "{\"oneOf\":",
      ListOf(count,
             [](int i) { return absl::StrCat(R"({"type":"string","pattern":"^b)", i, "$\"}"); }),
      "}");
}

std::string OneOfObjects(int count) {
  return absl::StrCat(
      "{\"oneOf\":",
      ListOf(count,
             [](int i) {
               return absl::StrCat(
                   R"({"properties":{"id":{"type":"string","format":"uuid"},"kind":{"const":"k)", i,
                   R"("}},"required":["id","kind"]})");
             }),
      "}");
}

TEST(CompileWorkTest, BranchesThatExcludeOneAnotherTakeFewStepsForEachPair) {
  for (const auto& make : {OneOfPatterns, OneOfObjects}) {
    constexpr int64_t kStepsOfPair = 150, kStepsOfBranch = 5'000;
    for (const int count : {50, 100, 200, 250}) {
      const Compilation compiled = CompileCounted(make(count));
      EXPECT_TRUE(compiled.status.ok()) << compiled.status;
      EXPECT_LT(compiled.steps, count * count * kStepsOfPair + count * kStepsOfBranch) << count;
    }
  }
}

TEST(CompileWorkTest, APatternBecomesAMachineOnce) {
  ExpressionPool budget;
  TextOverlap overlap(budget);
  constexpr int kCount = 20;
  std::vector<TextLanguage> languages;
  for (int i = 0; i < kCount; ++i) {
    const std::string regex = absl::StrCat("^b", i, i % 2 == 0 ? "$" : "");
    languages.push_back({.field = "text", .patterns = {{.regex = regex, .field = "text"}}});
  }
  for (int i = 0; i < kCount; ++i) {
    for (int j = 0; j < kCount; ++j) {
      if (i == j) continue;
      const auto exclude = overlap.Exclude(languages[i], languages[j]);
      ASSERT_TRUE(exclude.ok()) << exclude.status();
      // A pattern without an end matches longer texts: that of 1 those of 10 to 19.
      const bool overlaps = (i == 1 && j >= 10) || (j == 1 && i >= 10);
      EXPECT_EQ(*exclude, !overlaps) << i << " and " << j;
    }
  }
  EXPECT_EQ(overlap.machines_made(), kCount);
}

TEST(CompileWorkTest, LengthsOfTextsCountCharacters) {
  ExpressionPool budget;
  TextOverlap overlap(budget);
  const auto language = [](std::string regex, int64_t min_count, int64_t max_count) {
    return TextLanguage{.field = "text",
                        .patterns = {{.regex = std::move(regex), .field = "text"}},
                        .min_count = min_count,
                        .max_count = max_count};
  };
  const auto exclude = [&](const TextLanguage& a, const TextLanguage& b) {
    return overlap.Exclude(a, b).value();
  };
  // Both have texts of one character of three bytes, and of up to four characters.
  EXPECT_FALSE(exclude(language("^€+$", 1, 4), language("€$", 1, 1)));
  EXPECT_TRUE(exclude(language("^€{3}$", 0, 4), language("€$", 0, 2)));
  EXPECT_TRUE(exclude(language("^€{3}$", 4, 9), language("€$", 0, 20)));
  EXPECT_FALSE(exclude(language("^€{3}$", 3, 9), language("€$", 0, 20)));
  EXPECT_TRUE(exclude(language("a", 3, 4), language("a", 5, 6)));
}

// What takes more than the work for one schema is refused, whatever takes it.
TEST(CompileWorkTest, TooMuchWorkIsNamedByItsPart) {
  struct Case {
    std::string schema, part;
  };
  const std::vector<Case> cases = {
      {OneOfPatterns(1500), "json_schema.oneOf:"},
      // Each item compares all values of the list with its length.
      {absl::StrCat(R"({"$defs":{"v":{"enum":)",
                    ListOf(5000, [](int i) { return absl::StrCat("\"v", i, "\""); }),
                    R"(}},"prefixItems":)",
                    ListOf(800,
                           [](int i) {
                             return absl::StrCat(R"({"allOf":[{"$ref":"#/$defs/v"},{"maxLength":)",
                                                 i + 4, "}]}");
                           }),
                    "}"),
       "json_schema.$defs.v:"},
      // Each step has thousands of remainders, although few tell multiples apart.
      {absl::StrCat(R"({"properties":{"all":{"prefixItems":)",
                    ListOf(1500,
                           [](int i) {
                             return absl::StrCat(
                                 R"({"type":"integer","multipleOf":4000,"minimum":)", i, "}");
                           }),
                    "}}}"),
       "json_schema.properties.all.prefixItems"},
  };
  for (const Case& one : cases) {
    const Compilation compiled = CompileCounted(one.schema);
    EXPECT_TRUE(absl::IsResourceExhausted(compiled.status)) << compiled.status;
    EXPECT_EQ(compiled.status.message().substr(0, one.part.size()), one.part) << compiled.status;
    EXPECT_LT(compiled.steps, ExpressionPool::kMaxGrammarWork * 5 / 4);
  }
}

}  // namespace
}  // namespace whipsnake::engine
