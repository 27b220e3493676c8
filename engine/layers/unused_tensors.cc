#include "engine/layers/unused_tensors.h"

#include "absl/strings/str_join.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

bool IsLeftoverBuffer(std::string_view name) {
  const std::string_view last = name.substr(name.rfind('.') + 1);
  return last == "position_ids" || last == "inv_freq";
}

void UnusedTensors::Add(std::string_view name, std::string_view type) {
  if (count++ < kNamed) first.push_back(absl::StrCat(Quoted(name), " (", ToAbsl(type), ")"));
}

std::string UnusedTensors::text() const {
  if (count == 0) return "";
  return absl::StrCat(count, ": ", absl::StrJoin(first, ", "), count > kNamed ? ", ..." : "");
}

}  // namespace whipsnake::engine
