// Compiles any text as a regular expression or a JSON schema. The text must be refused with a
// field, or a random output of its language must be complete within the budget. The first byte
// chooses the kind of constraint and seeds the choices.
#include <random>
#include <string>

#include "engine/base/status.h"
#include "engine/structured/constraint.h"
#include "tests/engine/fakes/fake_model.h"

namespace {

using namespace whipsnake::engine;

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

std::shared_ptr<const VocabularyTrie> Bytes() {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  for (const char* piece : {"{\"", "\":", "ab", "00", "]]", "\xc3\xa9"}) pieces.emplace_back(piece);
  const FakeTokenizer tokenizer(pieces);
  return std::make_shared<const VocabularyTrie>(tokenizer, tokenizer.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& vocabulary = *new auto(Bytes());
  if (size == 0) return 0;
  const auto kind =
      data[0] % 2 == 0 ? ConstraintSpec::Kind::kRegex : ConstraintSpec::Kind::kJsonSchema;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  // Small limits: a constraint that exceeds them is refused by name.
  constexpr ConstraintLimits kLimits = {
      .max_bytes = int64_t{16} << 20, .max_work = int64_t{1} << 22, .slice_work = int64_t{1} << 16};
  const auto compiled = Constraint::Compile({kind, {text}}, vocabulary, kLimits);
  if (absl::IsResourceExhausted(compiled.status())) return 0;
  if (!compiled.ok()) {
    Require(absl::IsInvalidArgument(compiled.status()) && !FieldOf(compiled.status()).empty());
    return 0;
  }
  Constraint& constraint = **compiled;
  if (constraint.shortest_tokens() > 200) return 0;
  std::mt19937 random(data[0]);
  Constraint::Cursor cursor;
  for (int64_t left = constraint.shortest_tokens() + 8;;) {
    const auto next = constraint.Find(cursor, left);
    if (absl::IsResourceExhausted(next.status())) return 0;
    Require(next.ok());
    if (*next == nullptr) continue;
    std::vector<int32_t> allowed;
    for (int32_t token = 0; token < vocabulary->vocab_size(); ++token) {
      if (Contains((*next)->allowed, token)) allowed.push_back(token);
    }
    if (allowed.empty() || left == 0) {
      Require((*next)->complete);
      return 0;
    }
    constraint.Advance(cursor, allowed[random() % allowed.size()]);
    --left;
  }
}
