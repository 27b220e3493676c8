#include "engine/structured/text_overlap.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/structured/code_points.h"
#include "engine/structured/regex_grammar.h"

namespace whipsnake::engine {
namespace {

// The texts of both.
TextLanguage Both(const TextLanguage& a, const TextLanguage& b) {
  TextLanguage both = a;
  both.patterns.insert(both.patterns.end(), b.patterns.begin(), b.patterns.end());
  both.min_count = std::max(a.min_count, b.min_count);
  both.max_count = std::min(a.max_count, b.max_count);
  both.excluded.insert(both.excluded.end(), b.excluded.begin(), b.excluded.end());
  return both;
}

// Whether machines over symbols are needed: look-ahead and complements of UTF-8 are not made here.
bool NeedsSymbols(const TextLanguage& language) {
  return !language.excluded.empty() ||
         std::ranges::any_of(language.patterns, [](const TextPattern& pattern) {
           return pattern.negated || MayLookAhead(pattern.regex);
         });
}

// One byte of each class that some machine tells apart from the others.
std::vector<uint8_t> Representatives(const std::vector<ExpressionMachine*>& machines) {
  std::array<uint8_t, 256> class_of{};
  int classes = 1;
  for (const ExpressionMachine* machine : machines) {
    std::vector<int> refined(static_cast<size_t>(classes) * 256, -1);
    int count = 0;
    for (int byte = 0; byte < 256; ++byte) {
      int& part = refined[class_of[byte] * 256 + machine->ClassOf(static_cast<uint8_t>(byte))];
      if (part < 0) part = count++;
      class_of[byte] = static_cast<uint8_t>(part);
    }
    classes = count;
  }
  std::vector<uint8_t> bytes;
  for (int byte = 0; byte < 256; ++byte) {
    if (class_of[byte] == bytes.size()) bytes.push_back(static_cast<uint8_t>(byte));
  }
  return bytes;
}

}  // namespace

absl::StatusOr<ExpressionMachine*> TextOverlap::MachineOf(const TextPattern& pattern) {
  std::unique_ptr<ExpressionMachine>& machine = machines_[pattern.regex];
  if (machine != nullptr) return machine.get();
  ExpressionPool pool;
  const auto encode = [&pool](const CodePointSet& set) { return Utf8(set, &pool); };
  ASSIGN_OR_RETURN(const Expression root,
                   CompilePattern(pattern.regex, pattern.field, encode, {}, pool));
  constexpr int64_t kStepsOfNode = 12;
  const int64_t steps = pool.work_spent() + kStepsOfNode * static_cast<int64_t>(pool.size());
  if (!budget_.Spend(steps)) return OutOfGrammarWork(pattern.field);
  if (pool.overflowed()) {
    return InvalidField(pattern.field, "a pattern that is too large",
                        absl::StrCat("at most ", ExpressionPool::kMaxGrammarNodes, " parts"));
  }
  pool.FindLengths(ByteSet::Range(0, 255));
  machine = std::make_unique<ExpressionMachine>(pool, root, /*complement=*/false);
  ++machines_made_;
  machine_bytes_ += machine->memory_bytes();
  return machine.get();
}

size_t TextOverlap::BytesOf(const ExpressionMachines& machines) const {
  size_t bytes = 0;
  for (const ExpressionMachine* machine : machines) bytes += machine->memory_bytes();
  return bytes;
}

absl::StatusOr<bool> TextOverlap::IsNothing(const TextLanguage& both,
                                            const ExpressionMachines& patterns) {
  constexpr int64_t kStepsOfClasses = 64;
  budget_.Spend(kStepsOfClasses);
  const std::vector<uint8_t> symbols = Representatives(patterns);
  MachinePointers machines(patterns.begin(), patterns.end());
  auto nothing = AcceptNothing(machines, symbols, budget_);
  // Most patterns exclude one another whatever the lengths are.
  CharacterCountMachine count(both.min_count, both.max_count);
  if (nothing == false && both.has_length()) {
    machines.push_back(&count);
    nothing = AcceptNothing(machines, symbols, budget_);
  }
  if (nothing) return *nothing;
  if (budget_.out_of_work()) return OutOfGrammarWork(both.field);
  return InvalidField(both.field, "patterns and lengths that need too many states together",
                      absl::StrCat("at most ", kMaxOverlapStates, " states"));
}

absl::StatusOr<bool> TextOverlap::Exclude(const TextLanguage& a, const TextLanguage& b) {
  const TextLanguage both = Both(a, b);
  if (NeedsSymbols(both)) return IsEmpty(both, budget_);
  if (both.max_count < both.min_count) return true;
  if (both.patterns.empty()) return false;
  if (machine_bytes_ > kMaxMachineBytes) {
    machines_.clear();
    machine_bytes_ = 0;
    known_.clear();
  }
  ExpressionMachines patterns;
  for (const TextPattern& pattern : both.patterns) {
    ASSIGN_OR_RETURN(ExpressionMachine * machine, MachineOf(pattern));
    patterns.push_back(machine);
  }
  std::ranges::sort(patterns);
  patterns.erase(std::unique(patterns.begin(), patterns.end()), patterns.end());
  auto key = std::tuple(patterns, both.min_count, both.max_count);
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  const size_t bytes = BytesOf(patterns);
  const auto nothing = IsNothing(both, patterns);
  machine_bytes_ += BytesOf(patterns) - bytes;
  if (nothing.ok()) known_.emplace(std::move(key), *nothing);
  return nothing;
}

}  // namespace whipsnake::engine
