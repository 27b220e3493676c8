#include "engine/structured/text_language.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/structured/code_points.h"
#include "engine/structured/machine.h"
#include "engine/structured/regex_grammar.h"

namespace whipsnake::engine {
namespace {

constexpr size_t kMaxSymbols = 256;
constexpr size_t kMaxSets = 1024;  // each may be cut by all others

// Steps of work for each expression of a pool: to find its length; to copy it into a machine.
constexpr int64_t kLengthSteps = 4;
constexpr int64_t kMachineSteps = 8;

// The characters of one symbol: none of the language's sets tells them apart.
using Symbols = std::vector<CodePointSet>;

// Cuts Unicode into the largest parts that each set contains or excludes as a whole. Returns no
// parts if there are more than kMaxSymbols, or if it takes more work than `budget` has.
Symbols Partition(const std::set<CodePointSet>& sets, ExpressionPool& budget) {
  std::set<char32_t> cuts = {0};
  for (const CodePointSet& set : sets) {
    for (const auto [first, last] : set.ranges()) {
      cuts.insert(first);
      if (last < kLastCodePoint) cuts.insert(last + 1);
    }
  }
  const std::vector<char32_t> begins(cuts.begin(), cuts.end());
  std::vector<std::vector<uint32_t>> members(begins.size());  // the sets that contain each interval
  uint32_t number = 0;
  for (const CodePointSet& set : sets) {
    for (const auto [first, last] : set.ranges()) {
      const auto from = std::ranges::lower_bound(begins, first) - begins.begin();
      for (size_t i = from; i < begins.size() && begins[i] <= last; ++i) {
        members[i].push_back(number);
      }
      if (!budget.Spend(1 + static_cast<int64_t>(members.size() - from) / 4)) return {};
    }
    ++number;
  }
  std::map<std::vector<uint32_t>, std::vector<CodePointRange>> parts;
  for (size_t i = 0; i < begins.size(); ++i) {
    const char32_t last = i + 1 < begins.size() ? begins[i + 1] - 1 : kLastCodePoint;
    parts[members[i]].push_back({begins[i], last});
  }
  Symbols symbols;
  for (auto& [unused, ranges] : parts) {
    CodePointSet set(std::move(ranges));
    if (!set.empty()) symbols.push_back(std::move(set));
  }
  return symbols.size() > kMaxSymbols ? Symbols() : symbols;
}

std::vector<uint8_t> AllSymbols(const Symbols& all) {
  std::vector<uint8_t> symbols(all.size());
  std::iota(symbols.begin(), symbols.end(), uint8_t{0});
  return symbols;
}

// Steps of work to read a character of a pattern.
constexpr int64_t kReadSteps = 4;

absl::StatusOr<Expression> Compile(const TextPattern& pattern, const CharacterEncoder& encode,
                                   const LookAhead& look_ahead, ExpressionPool& pool) {
  pool.Spend(kReadSteps * std::ssize(pattern.regex));
  return CompilePattern(pattern.regex, pattern.field, encode, look_ahead, pool);
}

// Takes a look-ahead as if it were not there, which may only make the language larger.
Expression WithoutLookAhead(Expression, bool, Expression rest) { return rest; }

// Whether every text that matches the expression has a length within the limits. Expressions of
// patterns have no rules, so each node comes after its parts. A symbol stands for each character.
bool LengthsAreImplied(const ExpressionPool& pool, Expression root, const TextLanguage& language) {
  if (pool.length(root) < language.min_count) return false;
  if (language.max_count == ExpressionPool::kUnbounded) return true;
  constexpr int64_t kMany = ExpressionPool::kUnbounded;
  std::vector<int64_t> longest(pool.size());
  for (Expression e = 0; e <= root; ++e) {
    const ExpressionPool::Node& node = pool.node(e);
    switch (node.kind) {
      case ExpressionPool::Kind::kNothing:
      case ExpressionPool::Kind::kEmpty:
        break;
      case ExpressionPool::Kind::kBytes:
        longest[e] = 1;
        break;
      case ExpressionPool::Kind::kSequence:
        longest[e] = longest[node.first] + longest[node.rest];
        break;
      case ExpressionPool::Kind::kChoice:
        for (const Expression part : pool.alternatives(e)) {
          longest[e] = std::max(longest[e], longest[part]);
        }
        break;
      case ExpressionPool::Kind::kRepeat:
        longest[e] = longest[node.first] == 0              ? 0
                     : node.max_count >= kMany             ? kMany
                     : node.max_count > language.max_count ? kMany
                                                           : longest[node.first] * node.max_count;
        break;
      case ExpressionPool::Kind::kRule:
        longest[e] = kMany;
        break;
    }
    longest[e] = std::min(longest[e], kMany);
  }
  return longest[root] <= language.max_count;
}

// Whether one of the patterns implies the lengths, so that they need no machine. The work is
// charged to `budget`.
absl::StatusOr<bool> LengthsAreImplied(const TextLanguage& language, ExpressionPool& budget) {
  if (!language.has_length()) return true;
  for (const TextPattern& pattern : language.patterns) {
    if (pattern.negated) continue;
    ExpressionPool pool;
    const auto encode = [&pool](const CodePointSet& set) {
      return set.empty() ? ExpressionPool::kNothing : pool.Byte('c');
    };
    ASSIGN_OR_RETURN(const Expression content, Compile(pattern, encode, WithoutLookAhead, pool));
    pool.FindLengths(ByteSet::Range(0, 255));
    if (!budget.Spend(pool.work_spent() + kLengthSteps * static_cast<int64_t>(pool.size()))) {
      return OutOfGrammarWork(pattern.field);
    }
    if (!pool.overflowed() && LengthsAreImplied(pool, content, language)) return true;
  }
  return false;
}

// The language as machines over symbols.
struct TextMachines {
  Symbols symbols;
  Machines machines;
};

absl::Status TooLarge(const TextLanguage& language, const ExpressionPool& budget) {
  if (budget.out_of_work()) return OutOfGrammarWork(language.field);
  return InvalidField(language.field, "patterns and lengths that need too many states together",
                      absl::StrCat("at most ", MachineProduct::kMaxStates, " states and ",
                                   kMaxSymbols, " classes of characters"));
}

// The work is charged to `budget`.
absl::StatusOr<TextMachines> MakeMachines(const TextLanguage& language, ExpressionPool& budget) {
  std::set<CodePointSet> sets;
  for (const TextPattern& pattern : language.patterns) {
    ExpressionPool unused;
    const auto collect = [&](const CodePointSet& set) {
      sets.insert(set);
      return ExpressionPool::kEmpty;
    };
    RETURN_IF_ERROR(Compile(pattern, collect, WithoutLookAhead, unused).status());
    if (!budget.Spend(unused.work_spent())) return TooLarge(language, budget);
  }
  for (const std::string& text : language.excluded) {
    for (size_t at = 0; at < text.size() && sets.size() <= kMaxSets;) {
      const char32_t character = NextCodePoint(text, &at);
      sets.insert(CodePointSet({{character, character}}));
    }
  }
  TextMachines result;
  if (sets.size() <= kMaxSets) result.symbols = Partition(sets, budget);
  const Symbols& symbols = result.symbols;
  if (symbols.empty()) return TooLarge(language, budget);

  ExpressionPool pool;
  const auto encode = [&](const CodePointSet& set) {
    pool.Spend(std::ssize(symbols) / 4);
    ByteSet bytes;
    for (size_t i = 0; i < symbols.size(); ++i) {
      if (set.Contains(symbols[i].ranges().front().first)) bytes.Add(static_cast<uint8_t>(i));
    }
    return pool.Bytes(bytes);
  };
  const std::vector<uint8_t> all_symbols = AllSymbols(symbols);
  bool too_large = false;
  const auto look_ahead = [&](Expression ahead, bool negated, Expression rest) {
    ExpressionPool finished = pool;
    if (!budget.Spend(3 * kMachineSteps * static_cast<int64_t>(pool.size()))) {
      return ExpressionPool::kNothing;
    }
    finished.FindLengths(ByteSet::Range(0, static_cast<int>(symbols.size()) - 1));
    Machines machines;
    machines.push_back(std::make_unique<ExpressionMachine>(finished, ahead, negated));
    machines.push_back(std::make_unique<ExpressionMachine>(finished, rest, false));
    const auto product = Explore(machines, all_symbols, budget);
    too_large = too_large || !product;
    if (!product) return ExpressionPool::kNothing;
    return ToExpression(
        *product, [&](const ByteSet& set) { return pool.Bytes(set); }, pool);
  };
  std::vector<std::pair<Expression, bool>> roots;  // and whether it is the complement
  for (const TextPattern& pattern : language.patterns) {
    ASSIGN_OR_RETURN(const Expression root, Compile(pattern, encode, look_ahead, pool));
    roots.emplace_back(root, pattern.negated);
  }
  std::vector<Expression> excluded;
  for (const std::string& text : language.excluded) {
    std::vector<Expression> characters;
    for (size_t at = 0; at < text.size();) {
      const char32_t character = NextCodePoint(text, &at);
      characters.push_back(encode(CodePointSet({{character, character}})));
    }
    Expression all = ExpressionPool::kEmpty;
    for (size_t i = characters.size(); i-- > 0;) all = pool.Sequence(characters[i], all);
    excluded.push_back(all);
  }
  if (!excluded.empty()) roots.emplace_back(pool.Choice(excluded), true);
  const int64_t machine_steps =
      std::ssize(roots) * kMachineSteps * static_cast<int64_t>(pool.size());
  const bool in_time = budget.Spend(pool.work_spent() + machine_steps);
  if (!in_time || pool.overflowed() || too_large) return TooLarge(language, budget);
  pool.FindLengths(ByteSet::Range(0, static_cast<int>(symbols.size()) - 1));
  for (const auto& [root, complement] : roots) {
    result.machines.push_back(std::make_unique<ExpressionMachine>(pool, root, complement));
  }
  ASSIGN_OR_RETURN(const bool lengths_are_implied, LengthsAreImplied(language, budget));
  if (!lengths_are_implied) {
    result.machines.push_back(
        std::make_unique<LengthMachine>(language.min_count, language.max_count));
  }
  return result;
}

std::vector<uint8_t> SymbolsOf(std::string_view text, const Symbols& all) {
  std::vector<uint8_t> symbols;
  for (size_t at = 0; at < text.size();) {
    const char32_t character = NextCodePoint(text, &at);
    const auto symbol =
        std::ranges::find_if(all, [&](const CodePointSet& set) { return set.Contains(character); });
    symbols.push_back(static_cast<uint8_t>(symbol - all.begin()));
  }
  return symbols;
}

}  // namespace

bool MayLookAhead(std::string_view regex) {
  return regex.find("(?=") != regex.npos || regex.find("(?!") != regex.npos;
}

absl::StatusOr<Expression> CompileText(const TextLanguage& language, JsonGrammar& json,
                                       ExpressionPool& pool) {
  if (language.max_count < language.min_count) return ExpressionPool::kNothing;
  if (language.patterns.empty() && language.excluded.empty()) {
    return json.String(language.min_count, language.max_count);
  }
  const auto encode_set = [&](const CodePointSet& set) { return json.Character(set); };
  ASSIGN_OR_RETURN(const bool lengths_are_implied, LengthsAreImplied(language, pool));
  const bool is_one_pattern = language.patterns.size() == 1 && language.excluded.empty() &&
                              !language.patterns.front().negated &&
                              !MayLookAhead(language.patterns.front().regex);
  if (is_one_pattern && lengths_are_implied) {
    ASSIGN_OR_RETURN(const Expression content,
                     Compile(language.patterns.front(), encode_set, {}, pool));
    return json.Quoted(content);
  }
  ASSIGN_OR_RETURN(const TextMachines text, MakeMachines(language, pool));
  const auto product = Explore(text.machines, AllSymbols(text.symbols), pool);
  if (!product) return TooLarge(language, pool);
  const auto encode = [&](const ByteSet& symbols) {
    std::vector<CodePointRange> ranges;
    for (size_t i = 0; i < text.symbols.size(); ++i) {
      if (!symbols.Contains(static_cast<uint8_t>(i))) continue;
      const auto& more = text.symbols[i].ranges();
      ranges.insert(ranges.end(), more.begin(), more.end());
    }
    return json.Character(CodePointSet(std::move(ranges)));
  };
  return json.Quoted(ToExpression(*product, encode, pool));
}

absl::StatusOr<std::vector<bool>> Admits(const TextLanguage& language,
                                         const std::vector<std::string_view>& texts,
                                         ExpressionPool& pool) {
  const TextLanguage patterns{.field = language.field, .patterns = language.patterns};
  TextMachines machines;
  if (!patterns.patterns.empty()) {
    ASSIGN_OR_RETURN(machines, MakeMachines(patterns, pool));
  }
  std::vector<bool> admitted;
  for (const std::string_view text : texts) {
    const int64_t count = CountCharacters(text);
    std::optional<bool> admits = count >= language.min_count && count <= language.max_count &&
                                 std::ranges::count(language.excluded, text) == 0;
    if (*admits) admits = Accepts(machines.machines, SymbolsOf(text, machines.symbols), pool);
    if (!admits || !pool.Spend(2 + count)) return TooLarge(language, pool);
    admitted.push_back(*admits);
  }
  return admitted;
}

absl::StatusOr<bool> IsEmpty(const TextLanguage& language, ExpressionPool& pool) {
  if (language.max_count < language.min_count) return true;
  if (language.patterns.empty() && language.excluded.empty()) return false;
  ASSIGN_OR_RETURN(const TextMachines text, MakeMachines(language, pool));
  const auto product = Explore(text.machines, AllSymbols(text.symbols), pool);
  if (!product) return TooLarge(language, pool);
  return product->states.empty();
}

}  // namespace whipsnake::engine
