#include "engine/checkpoint/token_ids.h"

#include <limits>
#include <nlohmann/json.hpp>

namespace whipsnake::engine {

constexpr int64_t kNoToken = -1;

std::vector<int32_t> ReadTokenIds(JsonObjectReader& reader, const char* key,
                                  std::vector<int32_t> otherwise) {
  const JsonView field = reader[key];
  if (field.is_null()) return otherwise;
  const bool is_list = field.value().is_array();
  const std::vector<JsonView> elements = is_list ? *field.Elements() : std::vector{field};
  std::vector<int32_t> ids;
  for (const JsonView& element : elements) {
    const auto id = element.Integer(kNoToken, std::numeric_limits<int32_t>::max());
    if (!id.ok()) {
      reader.Update(element.Invalid(is_list ? "a token id, an integer from 0 to 2147483647"
                                            : "a token id, an integer from 0 to 2147483647, or a "
                                              "list of them"));
      return otherwise;
    }
    if (*id != kNoToken) ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

}  // namespace whipsnake::engine
