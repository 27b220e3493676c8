#include "engine/tokenizer/random_tokenizer.h"

#include <array>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/tokenizer/byte_level.h"

namespace whipsnake::engine {
namespace {

constexpr int64_t kBytes = 256;
constexpr int64_t kPairs = kBytes * kBytes;

// The characters of the bytes (byte_level.h) as they are written in a JSON string.
std::array<std::string, kBytes> ByteSymbols() {
  std::array<std::string, kBytes> symbols;
  for (int byte = 0; byte < kBytes; ++byte) {
    const std::string_view character = ByteLevelCharacter(byte);
    symbols[byte] =
        absl::StrCat(character == "\"" || character == "\\" ? "\\" : "", ToAbsl(character));
  }
  return symbols;
}

// All bytes, those most useful for text first.
std::array<uint8_t, kBytes> ByteOrder() {
  constexpr char kFirst[] = " etaoinshrdlucmfwypvbgkjqxz";
  std::array<uint8_t, kBytes> order;
  std::array<bool, kBytes> taken{};
  int count = 0;
  for (const char* c = kFirst; *c; ++c) {
    order[count++] = *c;
    taken[static_cast<uint8_t>(*c)] = true;
  }
  for (int byte = 0; byte < kBytes; ++byte) {
    if (!taken[byte]) order[count++] = byte;
  }
  return order;
}

// Returns the k-th of all pairs of numbers, ordered by the larger of the two, so that the first n^2
// pairs are those of numbers below n.
std::pair<int64_t, int64_t> UnrankPair(int64_t k) {
  const int64_t larger = static_cast<int64_t>(std::sqrt(static_cast<double>(k)));
  const int64_t rest = k - larger * larger;
  return rest <= larger ? std::pair(larger, rest) : std::pair(rest - larger - 1, larger);
}

// Returns the two tokens that the k-th merge joins. A token of n bytes is made in only one way,
// from its first n-1 bytes and its last byte, so no two merges make the same token, and both parts
// exist before it.
std::pair<std::string, std::string> Merge(int64_t k) {
  static const std::array<std::string, kBytes> symbols = ByteSymbols();
  static const std::array<uint8_t, kBytes> order = ByteOrder();
  const auto symbol = [&](int64_t rank) -> const std::string& { return symbols[order[rank]]; };
  if (k < kPairs) {
    const auto [left, right] = UnrankPair(k);
    return {symbol(left), symbol(right)};
  }
  const auto [left, middle] = UnrankPair((k - kPairs) / kBytes);
  return {absl::StrCat(symbol(left), symbol(middle)), symbol((k - kPairs) % kBytes)};
}

}  // namespace

std::string MakeByteLevelTokenizer(int64_t tokens) {
  constexpr char kByteLevel[] =
      R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true})";
  std::string vocabulary = R"("<|endoftext|>":0)";
  int64_t id = 1;
  for (const std::string& symbol : ByteSymbols()) {
    absl::StrAppend(&vocabulary, ",\"", symbol, "\":", id++);
  }
  std::string merges;
  for (int64_t k = 0; id < tokens; ++k, ++id) {
    const auto [left, right] = Merge(k);
    absl::StrAppend(&vocabulary, ",\"", left, right, "\":", id);
    absl::StrAppend(&merges, k == 0 ? "\"" : ",\"", left, " ", right, "\"");
  }
  return absl::StrCat(
      R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":0,)",
      R"("content":"<|endoftext|>","single_word":false,"lstrip":false,"rstrip":false,)",
      R"("normalized":false,"special":true}],"normalizer":null,"pre_tokenizer":)", kByteLevel,
      R"(,"post_processor":null,"decoder":)", kByteLevel,
      R"(,"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,)",
      R"("end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{)", vocabulary,
      R"(},"merges":[)", merges, "]}}\n");
}

}  // namespace whipsnake::engine
