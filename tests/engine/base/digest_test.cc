#include "engine/base/digest.h"

#include <gtest/gtest.h>

namespace whipsnake::engine {
namespace {

TEST(DigestTest, OfTheSameBytesInPiecesIsTheSame) {
  Digest whole, pieces, other;
  whole.Add("abcdef");
  pieces.Add("abc");
  pieces.Add("def");
  other.Add("abcdeg");
  EXPECT_EQ(whole.text(), pieces.text());
  EXPECT_EQ(whole.value(), pieces.value());
  EXPECT_EQ(whole.value(), Digest::Of("abcdef"));
  EXPECT_NE(whole.text(), other.text());
  EXPECT_EQ(whole.text().size(), 32);
  // The output of `xxh128sum` for an empty file.
  EXPECT_EQ(Digest().text(), "99aa06d3014798d86001c324468d497f");
}

}  // namespace
}  // namespace whipsnake::engine
