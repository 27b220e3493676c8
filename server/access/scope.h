// What methods and paths ask of their callers, and what callers may do.
#ifndef WHIPSNAKE_SERVER_ACCESS_SCOPE_H_
#define WHIPSNAKE_SERVER_ACCESS_SCOPE_H_

#include <optional>
#include <string>
#include <string_view>

namespace whipsnake::server {

// docs/security.md has the table of the methods and paths.
enum class Scope {
  kOpen,      // for everyone, without a token
  kAnyToken,  // for every valid token, also one without scopes
  kInfer,     // generation, tokens, states, the list of models
  kTrain,     // data sets, fine-tuning, quantization, versions of models
  kAdmin,     // everything
};

// "open", "any", "infer", "train", "admin".
std::string_view Name(Scope scope);

// The scopes of a token. A value; empty at first.
class ScopeSet {
 public:
  static ScopeSet All();

  void Add(Scope scope) { bits_ |= Bit(scope); }
  bool Contains(Scope scope) const { return (bits_ & Bit(scope)) != 0; }
  // Whether a caller with these scopes may call what needs `scope`: kAdmin may everything, and
  // kOpen and kAnyToken need none.
  bool Allows(Scope scope) const;
  // "infer, train"; "" if there are none.
  std::string ToString() const;

  bool operator==(const ScopeSet&) const = default;

 private:
  static constexpr unsigned Bit(Scope scope) { return 1U << static_cast<unsigned>(scope); }

  unsigned bits_ = 0;
};

// A scope that a token may have: "infer", "train" or "admin". Nothing for another text.
std::optional<Scope> ParseTokenScope(std::string_view text);

}  // namespace whipsnake::server

#endif  // WHIPSNAKE_SERVER_ACCESS_SCOPE_H_
