#include "engine/tokenizer/gpt2_scanner.h"

#include <array>
#include <cstdint>

#include "engine/base/utf8.h"
#include "engine/tokenizer/characters.h"

namespace whipsnake::engine {
namespace {

enum class Class : uint8_t { kLetter, kNumber, kSpace, kOther, kEnd };

Class ClassByProperty(char32_t code_point) {
  if (IsLetter(code_point)) return Class::kLetter;
  if (IsNumber(code_point)) return Class::kNumber;
  return IsSpace(code_point) ? Class::kSpace : Class::kOther;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool done() const { return pos_ == text_.size(); }

  // Returns the word at the current position and moves past it. Tries the alternatives in the
  // pattern's order.
  std::string_view Next() {
    const size_t begin = pos_;
    if (!TakeContraction() && !TakeRun()) TakeSpaces();
    return text_.substr(begin, pos_ - begin);
  }

 private:
  // 's|'t|'re|'ve|'m|'ll|'d
  bool TakeContraction() {
    if (text_[pos_] != '\'') return false;
    for (const std::string_view tail : {"s", "t", "re", "ve", "m", "ll", "d"}) {
      if (text_.substr(pos_ + 1, tail.size()) == tail) {
        pos_ += 1 + tail.size();
        return true;
      }
    }
    return false;
  }

  //  ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+
  bool TakeRun() {
    size_t end = pos_ + (text_[pos_] == ' ' ? 1 : 0);
    const Class first = ClassAt(end, &end);
    if (first == Class::kSpace || first == Class::kEnd) return false;
    pos_ = SkipClass(first, end);
    return true;
  }

  // \s+(?!\S)|\s+: takes a run of spaces. If a word follows, leaves the last space to it, unless
  // that is the only one.
  void TakeSpaces() {
    size_t last = pos_, end = pos_;
    for (size_t next = end; ClassAt(end, &next) == Class::kSpace; end = next) last = end;
    pos_ = end == text_.size() || last == pos_ ? end : last;
  }

  // Returns the first position from `pos` on whose character is not of class `c`.
  size_t SkipClass(Class c, size_t pos) const {
    size_t next = pos;
    while (ClassAt(pos, &next) == c) pos = next;
    return pos;
  }

  // Returns the class of the character at `pos` and sets *next to the position after it, or returns
  // kEnd.
  Class ClassAt(size_t pos, size_t* next) const {
    static const std::array<Class, 128> ascii = [] {
      std::array<Class, 128> classes;
      for (int c = 0; c < 128; ++c) classes[c] = ClassByProperty(c);
      return classes;
    }();
    if (pos == text_.size()) return Class::kEnd;
    const uint8_t byte = text_[pos];
    if (byte < 128) {
      *next = pos + 1;
      return ascii[byte];
    }
    const char32_t code_point = NextCodePoint(text_, &pos);
    *next = pos;
    return ClassByProperty(code_point);
  }

  std::string_view text_;
  size_t pos_ = 0;
};

}  // namespace

void ScanGpt2Words(std::string_view text, std::vector<std::string_view>* words) {
  Scanner scanner(text);
  while (!scanner.done()) words->push_back(scanner.Next());
}

}  // namespace whipsnake::engine
