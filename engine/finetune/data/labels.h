// The labels of a classifier.
#ifndef WHIPSNAKE_ENGINE_FINETUNE_DATA_LABELS_H_
#define WHIPSNAKE_ENGINE_FINETUNE_DATA_LABELS_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace whipsnake::engine {

inline constexpr int64_t kMaxLabels = int64_t{1} << 16;
inline constexpr int64_t kMaxLabelBytes = 256;

// Distinct names; label i is the i-th.
class Labels {
 public:
  Labels() = default;
  // Returns INVALID_ARGUMENT unless there are at most kMaxLabels names, all distinct.
  static absl::StatusOr<Labels> Make(std::vector<std::string> names);

  bool empty() const { return names_.empty(); }
  int64_t size() const { return std::ssize(names_); }
  const std::vector<std::string>& names() const { return names_; }

  // Returns the label with this name. If no label's name is an integer, also accepts the index of a
  // label in decimal. Returns nullopt for anything else.
  std::optional<int32_t> Find(std::string_view name) const;
  // The first names, for a message.
  std::string Listed() const;

 private:
  std::vector<std::string> names_;
  absl::flat_hash_map<std::string, int32_t> index_;
  bool accepts_indices_ = false;
};

// Reads id2label, such as {"0": "noun", "1": "verb"}, of a config.json. Returns no labels if it is
// absent, and INVALID_ARGUMENT unless it maps 0, 1, ... to distinct strings.
absl::StatusOr<Labels> ReadLabels(const nlohmann::json& config);

// Numbers the labels of a file in the order in which they first appear, because the sorted order is
// known only at its end.
class LabelCollector {
 public:
  // Returns the number of a label. INVALID_ARGUMENT, about the field "label", if it is empty or has
  // more than kMaxLabelBytes, or if there would be more than kMaxLabels.
  absl::StatusOr<int32_t> Number(const std::string& name);

  // Returns the labels in ascending order: by value if all are integers, otherwise by bytes.
  // new_numbers[i] is the label of number i.
  Labels Sorted(std::vector<int32_t>* new_numbers) const;

 private:
  absl::flat_hash_map<std::string, int32_t> numbers_;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_FINETUNE_DATA_LABELS_H_
