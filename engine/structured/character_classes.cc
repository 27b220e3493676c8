#include "engine/structured/character_classes.h"

namespace whipsnake::engine {
namespace {

CodePointSet DecimalDigits() { return CodePointSet({{'0', '9'}}); }

CodePointSet WordCharacters() {
  return CodePointSet({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
}

// WhiteSpace and LineTerminator.
CodePointSet Spaces() {
  return CodePointSet({{'\t', '\r'},
                       {' ', ' '},
                       {0xa0, 0xa0},
                       {0x1680, 0x1680},
                       {0x2000, 0x200a},
                       {0x2028, 0x2029},
                       {0x202f, 0x202f},
                       {0x205f, 0x205f},
                       {0x3000, 0x3000},
                       {0xfeff, 0xfeff}});
}

CodePointSet LineTerminators() {
  return CodePointSet({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});
}

}  // namespace

std::optional<CodePointSet> CharacterClass(char32_t letter) {
  switch (letter) {
    case 'd':
      return DecimalDigits();
    case 'w':
      return WordCharacters();
    case 's':
      return Spaces();
    case 'D':
      return DecimalDigits().Complement();
    case 'W':
      return WordCharacters().Complement();
    case 'S':
      return Spaces().Complement();
    default:
      return std::nullopt;
  }
}

CodePointSet DotCharacters() { return LineTerminators().Complement(); }

}  // namespace whipsnake::engine
