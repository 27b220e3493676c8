// Compares the grammars of number ranges with the numbers themselves.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/engine/structured/support.h"

namespace whipsnake::engine {
namespace {

TEST(NumberGrammarTest, IntegersAreThoseOfTheRange) {
  for (const auto& [min, max] : {std::pair(0, 0),
                                 {0, 9},
                                 {1, 12},
                                 {-3, 3},
                                 {-120, -98},
                                 {7, 1034},
                                 {99, 101},
                                 {-1, 0},
                                 {100, 100},
                                 {-7, -7}}) {
    CompiledConstraint compiled = Schema(
        absl::StrCat(R"({"type": "integer", "minimum": )", min, R"(, "maximum": )", max, "}"));
    for (int value = -1200; value <= 1200; ++value) {
      EXPECT_EQ(compiled.Accepts(absl::StrCat(value)), min <= value && value <= max)
          << value << " in " << min << " to " << max;
    }
    for (const char* text : {"-0", "01", "1.0", "1e2", "+1", "", "-"})
      EXPECT_FALSE(compiled.Accepts(text)) << text;
  }
}

TEST(NumberGrammarTest, OneBoundOrNone) {
  const auto accepts = [](const std::string& bounds, int value) {
    return Schema(absl::StrCat(R"({"type": "integer")", bounds, "}")).Accepts(absl::StrCat(value));
  };
  for (const int value : {-1000000, -18, -17, -16, -1, 0, 1, 16, 17, 18, 99, 100, 12345678}) {
    EXPECT_TRUE(accepts("", value));
    EXPECT_EQ(accepts(R"(, "minimum": 17)", value), value >= 17) << value;
    EXPECT_EQ(accepts(R"(, "minimum": -17)", value), value >= -17) << value;
    EXPECT_EQ(accepts(R"(, "maximum": 17)", value), value <= 17) << value;
    EXPECT_EQ(accepts(R"(, "exclusiveMaximum": -17)", value), value < -17) << value;
    EXPECT_EQ(accepts(R"(, "exclusiveMinimum": 16.5)", value), value > 16.5) << value;
    EXPECT_EQ(accepts(R"(, "maximum": -0.5)", value), value <= -0.5) << value;
  }
}

TEST(NumberGrammarTest, NumbersOfAnyExponentAreExactOrRefusedByName) {
  EXPECT_TRUE(Schema(R"({"const": 1e400})").Accepts("1e400"));
  EXPECT_TRUE(Schema(R"({"enum": [-1e-500, 12345678901234567890123]})").Accepts("-1e-500"));
  EXPECT_TRUE(Schema(R"({"type": "integer", "maximum": 1e399})").Accepts("5"));
  EXPECT_EQ(Schema(R"({"type": "integer", "minimum": 1e1000})").field(), "json_schema.minimum");
  const std::string large = absl::StrCat("1", std::string(399, '0'));  // 10^399
  CompiledConstraint exact = Schema(
      absl::StrCat(R"({"type": "integer", "minimum": )", large, R"(, "maximum": )", large, "}"));
  EXPECT_TRUE(exact.Accepts(large));
  EXPECT_FALSE(exact.Accepts(absl::StrCat(large.substr(0, 399), "1")));
  for (const char* malformed : {R"({"const": 1e})", R"({"const": 01})", R"({"const": -})",
                                R"({"const": 1.})", R"({"const": +1})", R"({"const": 1 2})"}) {
    EXPECT_EQ(Schema(malformed).field(), "json_schema") << malformed;
  }
}

TEST(NumberGrammarTest, ARangeWithoutABoundEndsAtTheLargestDouble) {
  const std::string largest = absl::StrFormat("%.0f", std::numeric_limits<double>::max());
  const std::string more = absl::StrCat("18", largest.substr(2));
  for (const char* type : {"number", "integer"}) {
    const std::string start = absl::StrCat(R"({"type": ")", type, "\", ");
    CompiledConstraint above = Schema(absl::StrCat(start, R"("minimum": 1e308})"));
    EXPECT_TRUE(above.Accepts(largest));
    EXPECT_FALSE(above.Accepts(more));
    CompiledConstraint below = Schema(absl::StrCat(start, R"("maximum": -1e308})"));
    EXPECT_TRUE(below.Accepts("-" + largest));
    EXPECT_FALSE(below.Accepts("-" + more));
    EXPECT_TRUE(Schema(absl::StrCat(start, R"("minimum": )", more, "}")).Accepts(more));
  }
}

TEST(NumberGrammarTest, DecimalsAreThoseOfTheRange) {
  std::mt19937_64 random(1);
  const double bounds[] = {-12.5, -1,   -0.25, -0.03, 0,  0.03,  0.1,
                           0.125, 0.99, 1,     1.5,   10, 10.01, 999.9};
  for (const double min : bounds) {
    for (const double max : bounds) {
      for (const int excluded : {0, 1, 2, 3}) {
        CompiledConstraint compiled = Schema(absl::StrCat(
            R"({"type": "number", ")", excluded & 1 ? "exclusiveMinimum" : "minimum", "\": ", min,
            ", \"", excluded & 2 ? "exclusiveMaximum" : "maximum", "\": ", max, "}"));
        const bool none = min > max || (min == max && excluded != 0);
        ASSERT_EQ(compiled.status().ok(), !none) << min << " " << max << " " << compiled.status();
        if (none) continue;
        for (int i = 0; i < 40; ++i) {
          // A value near one of the bounds or near 0.
          const int digits = static_cast<int>(random() % 4);
          const double scale = std::pow(10, digits);
          const double near = i % 3 == 0 ? min : i % 3 == 1 ? max : 0;
          const double value =
              std::round((near + (static_cast<double>(random() % 401) - 200) / 100) * scale) /
              scale;
          std::string text = absl::StrFormat("%.*f", digits, value);
          if (std::stod(text) == 0 && text[0] == '-') text = text.substr(1);
          const double exact = std::stod(text);
          const bool inside = (excluded & 1 ? exact > min : exact >= min) &&
                              (excluded & 2 ? exact < max : exact <= max);
          EXPECT_EQ(compiled.Accepts(text), inside)
              << text << " in " << min << " to " << max << ", " << excluded;
        }
      }
    }
  }
}

}  // namespace
}  // namespace whipsnake::engine
