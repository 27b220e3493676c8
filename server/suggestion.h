// What a mistyped word was meant to be.
#ifndef WHIPSNAKE_SERVER_SUGGESTION_H_
#define WHIPSNAKE_SERVER_SUGGESTION_H_

#include <span>
#include <string>
#include <string_view>

namespace whipsnake::server {

// Returns the word that the fewest insertions, deletions, replacements and exchanges of neighbours
// make of `typed`, or "" if none is close: at most a third of the characters may be wrong.
std::string NearestWord(std::string_view typed, std::span<const std::string> words);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_SUGGESTION_H_
