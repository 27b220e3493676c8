// The multiples of a decimal number, exactly, as a machine that reads digits.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_MULTIPLE_MACHINE_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_MULTIPLE_MACHINE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/structured/decimal.h"
#include "engine/structured/machine.h"

namespace whipsnake::engine {

// Whether number = n * step for an integer n. `step` is positive and supported.
bool IsMultiple(const Decimal& number, const Decimal& step);

// Reads numbers without exponent and accepts the multiples of a step with at most as many digits
// after the point as it has. Its states are the remainders of what was read, where those that no
// further digit tells apart are one: of 1000 four remain.
class MultipleMachine : public Machine {
 public:
  static bool Supports(const Decimal& step);

  explicit MultipleMachine(const Decimal& step);

  State start() const override { return 1; }
  std::optional<State> Next(State state, uint8_t symbol) override;
  bool accepts(State state) const override { return accepts_[state]; }
  bool dead(State state) const override { return state == kDead; }
  int64_t work() const override { return work_; }  // all of it before it is used

 private:
  static constexpr State kDead = 0;
  static constexpr size_t kSymbols = 11;  // the digits and the point

  using Row = std::array<State, kSymbols>;

  void Minimize();

  std::vector<Row> next_;  // [state]
  std::vector<bool> accepts_;
  int64_t work_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_MULTIPLE_MACHINE_H_
