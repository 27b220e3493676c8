// Whether sets of texts have a text in common.
#ifndef WHIPSNAKE_ENGINE_STRUCTURED_TEXT_OVERLAP_H_
#define WHIPSNAKE_ENGINE_STRUCTURED_TEXT_OVERLAP_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/structured/expression.h"
#include "engine/structured/machine.h"
#include "engine/structured/text_language.h"

namespace whipsnake::engine {

// Compares many languages with one another. A pattern becomes a machine once, over the bytes of
// UTF-8, however many other patterns it is compared with. Not thread-safe.
class TextOverlap {
 public:
  // All work is charged to `budget`, which must outlive it.
  explicit TextOverlap(ExpressionPool& budget) : budget_(budget) {}

  // Whether no text is in both languages. Returns errors as text_language.h does.
  absl::StatusOr<bool> Exclude(const TextLanguage& a, const TextLanguage& b);

  // The number of machines made so far.
  int64_t machines_made() const { return machines_made_; }

 private:
  using ExpressionMachines = std::vector<ExpressionMachine*>;

  absl::StatusOr<ExpressionMachine*> MachineOf(const TextPattern& pattern);
  // Whether no text with a length within the limits of `both` is accepted by all machines.
  absl::StatusOr<bool> IsNothing(const TextLanguage& both, const ExpressionMachines& patterns);
  size_t BytesOf(const ExpressionMachines& machines) const;

  // Machines beyond this are dropped, and made again when needed.
  static constexpr size_t kMaxMachineBytes = size_t{48} << 20;

  ExpressionPool& budget_;
  std::map<std::string, std::unique_ptr<ExpressionMachine>> machines_;  // by regex
  size_t machine_bytes_ = 0;
  // By the machines of the patterns, in the order of their addresses, and the limits of the length.
  std::map<std::tuple<ExpressionMachines, int64_t, int64_t>, bool> known_;
  int64_t machines_made_ = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_STRUCTURED_TEXT_OVERLAP_H_
