#include "engine/base/status.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/strings/cord.h"

namespace whipsnake::engine {
namespace {

TEST(InvalidField, NamesFieldSeenAndExpected) {
  const absl::Status status = InvalidField("sampling.temperature", "3", "a number from 0 to 2");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "sampling.temperature: 3 seen, expected a number from 0 to 2");
  EXPECT_EQ(FieldOf(status), "sampling.temperature");
}

TEST(FieldOf, IsEmptyWhereNoFieldWasAttached) {
  EXPECT_EQ(FieldOf(absl::OkStatus()), "");
  EXPECT_EQ(FieldOf(absl::InvalidArgumentError("sampling.temperature: 3 seen")), "");
}

TEST(WithContext, KeepsCodeFieldAndForeignPayloads) {
  absl::Status inner = InvalidField("vocab_size", "-1", "1 or more");
  inner.SetPayload("other", absl::Cord("kept"));
  const absl::Status outer = WithContext(inner, "config.json");
  EXPECT_EQ(outer.code(), inner.code());
  EXPECT_EQ(outer.message(), "config.json: vocab_size: -1 seen, expected 1 or more");
  EXPECT_EQ(FieldOf(outer), "vocab_size");
  EXPECT_TRUE(outer.GetPayload("other") == absl::Cord("kept"));
  EXPECT_EQ(FieldOf(WithContext(absl::NotFoundError("x"), "y")), "");
}

TEST(WithContext, LeavesOkAlone) { EXPECT_TRUE(WithContext(absl::OkStatus(), "x").ok()); }

absl::StatusOr<std::unique_ptr<int>> Box(int value) {
  if (value < 0) return absl::OutOfRangeError("negative");
  return std::make_unique<int>(value);
}

absl::StatusOr<int> Sum(int a, int b, int* evaluated) {
  ASSIGN_OR_RETURN(std::unique_ptr<int> left, (++*evaluated, Box(a)));
  ASSIGN_OR_RETURN(const std::unique_ptr<int> right, (++*evaluated, Box(b)));
  RETURN_IF_ERROR((++*evaluated, absl::OkStatus()));
  return *left + *right;
}

TEST(Macros, MoveTheValueAndReturnTheFirstError) {
  int evaluated = 0;
  EXPECT_EQ(Sum(2, 3, &evaluated).value(), 5);
  EXPECT_EQ(evaluated, 3);

  evaluated = 0;
  EXPECT_EQ(Sum(-1, 3, &evaluated).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(evaluated, 1);
}

}  // namespace
}  // namespace whipsnake::engine
