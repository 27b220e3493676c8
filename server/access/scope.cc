#include "server/access/scope.h"

namespace whipsnake::server {
namespace {

constexpr Scope kTokenScopes[] = {Scope::kInfer, Scope::kTrain, Scope::kAdmin};

}  // namespace

std::string_view Name(Scope scope) {
  switch (scope) {
    case Scope::kOpen:
      return "open";
    case Scope::kAnyToken:
      return "any";
    case Scope::kInfer:
      return "infer";
    case Scope::kTrain:
      return "train";
    case Scope::kAdmin:
      break;
  }
  return "admin";
}

ScopeSet ScopeSet::All() {
  ScopeSet all;
  for (const Scope scope : kTokenScopes) all.Add(scope);
  return all;
}

bool ScopeSet::Allows(Scope scope) const {
  return scope == Scope::kOpen || scope == Scope::kAnyToken || Contains(scope) ||
         Contains(Scope::kAdmin);
}

std::string ScopeSet::ToString() const {
  std::string text;
  for (const Scope scope : kTokenScopes) {
    if (!Contains(scope)) continue;
    if (!text.empty()) text += ", ";
    text += Name(scope);
  }
  return text;
}

std::optional<Scope> ParseTokenScope(std::string_view text) {
  for (const Scope scope : kTokenScopes) {
    if (text == Name(scope)) return scope;
  }
  return std::nullopt;
}

}  // namespace whipsnake::server
