// A set of bytes.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_BYTE_SET_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_BYTE_SET_H_

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <string_view>

namespace whipsnake::engine {

class ByteSet {
 public:
  constexpr ByteSet() = default;

  static constexpr ByteSet Of(std::string_view bytes) {
    ByteSet set;
    for (const char byte : bytes) set.Add(static_cast<uint8_t>(byte));
    return set;
  }
  static constexpr ByteSet Range(int first, int last) {
    ByteSet set;
    for (int byte = first; byte <= last; ++byte) set.Add(static_cast<uint8_t>(byte));
    return set;
  }

  constexpr void Add(uint8_t byte) { words_[byte >> 6] |= uint64_t{1} << (byte & 63); }
  constexpr void Add(const ByteSet& other) {
    for (int i = 0; i < 4; ++i) words_[i] |= other.words_[i];
  }
  constexpr bool Contains(uint8_t byte) const { return words_[byte >> 6] >> (byte & 63) & 1; }
  constexpr bool empty() const { return words_ == std::array<uint64_t, 4>{}; }
  constexpr bool Intersects(const ByteSet& other) const {
    uint64_t common = 0;
    for (int i = 0; i < 4; ++i) common |= words_[i] & other.words_[i];
    return common != 0;
  }

  auto operator<=>(const ByteSet&) const = default;

 private:
  std::array<uint64_t, 4> words_{};
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_BYTE_SET_H_
