#include "engine/structured/multiple_machine.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace whipsnake::engine {
namespace {

// A step is `digits` / 10^`places`.
struct Step {
  uint64_t digits = 0;
  int64_t places = 0;
};

constexpr uint64_t kMaxRemainders = 8192;  // of all places

std::optional<Step> StepOf(const Decimal& step) {
  Step result{.places = std::ssize(step.fraction)};
  for (const char c : step.whole + step.fraction) {
    result.digits = result.digits * 10 + (c - '0');
    if (result.digits > kMaxRemainders) return std::nullopt;
  }
  if (step.negative || result.digits * (result.places + 2) > kMaxRemainders) return std::nullopt;
  return result;
}

uint64_t AppendDigit(uint64_t remainder, int digit, const Step& step) {
  return (remainder * 10 + digit) % step.digits;
}

}  // namespace

bool IsMultiple(const Decimal& number, const Decimal& step) {
  const auto divisor = StepOf(step);
  if (!divisor || std::ssize(number.fraction) > divisor->places) return false;
  uint64_t remainder = 0;
  const std::string zeros(divisor->places - number.fraction.size(), '0');
  for (const char c : number.whole + number.fraction + zeros) {
    remainder = AppendDigit(remainder, c - '0', *divisor);
  }
  return remainder == 0;
}

bool MultipleMachine::Supports(const Decimal& step) {
  return StepOf(step).has_value() && !step.is_zero();
}

MultipleMachine::MultipleMachine(const Decimal& decimal) {
  const Step step = *StepOf(decimal);
  // State 0 is dead. The others are, for each place (the whole part, the point, the digits after
  // it), the remainders of the digits read.
  const auto state_of = [&](int64_t place, uint64_t remainder) {
    return static_cast<State>(1 + place * step.digits + remainder);
  };
  next_.push_back({});
  accepts_.push_back(false);
  for (int64_t place = 0; place <= step.places + 1; ++place) {
    for (uint64_t remainder = 0; remainder < step.digits; ++remainder) {
      Row& row = next_.emplace_back();
      const bool may_append = place == 0 || place <= step.places;
      for (int digit = 0; digit < 10 && may_append; ++digit) {
        row[digit] = state_of(place == 0 ? 0 : place + 1, AppendDigit(remainder, digit, step));
      }
      if (place == 0 && step.places > 0) row[10] = state_of(1, remainder);
      uint64_t padded = remainder;
      for (int64_t i = std::max<int64_t>(place - 1, 0); i < step.places; ++i) {
        padded = AppendDigit(padded, 0, step);
      }
      accepts_.push_back(padded == 0);
    }
  }
  Minimize();
}

// Moore's algorithm: splits the states into those that accept and the others, and then by the parts
// that their next states are in, until nothing changes. The start stays state 1 and the dead state
// 0.
void MultipleMachine::Minimize() {
  std::vector<State> part(next_.size());
  for (size_t s = 0; s < part.size(); ++s) part[s] = s == kDead ? 0 : accepts_[s] ? 1 : 2;
  for (size_t parts = 0;;) {
    constexpr int64_t kStepsOfState = 8;
    work_ += kStepsOfState * std::ssize(next_);
    absl::flat_hash_map<std::pair<State, Row>, State> split;
    std::vector<State> finer(part.size());
    for (size_t s = 0; s < part.size(); ++s) {
      Row row;
      for (size_t i = 0; i < kSymbols; ++i) row[i] = part[next_[s][i]];
      finer[s] = split.try_emplace({part[s], row}, static_cast<State>(split.size())).first->second;
    }
    part = std::move(finer);
    if (split.size() == parts) break;
    parts = split.size();
  }
  std::vector<Row> next;
  std::vector<bool> accepts;
  for (size_t s = 0; s < part.size(); ++s) {
    if (part[s] != next.size()) continue;  // not the first of its part
    Row& row = next.emplace_back();
    for (size_t i = 0; i < kSymbols; ++i) row[i] = part[next_[s][i]];
    accepts.push_back(accepts_[s]);
  }
  next_ = std::move(next);
  accepts_ = std::move(accepts);
}

std::optional<Machine::State> MultipleMachine::Next(State state, uint8_t symbol) {
  if (symbol == '-') return state;
  return next_[state][symbol == '.' ? 10 : symbol - '0'];
}

}  // namespace whipsnake::engine
