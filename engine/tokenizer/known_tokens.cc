#include "engine/tokenizer/known_tokens.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace whipsnake::engine {

absl::Status CheckKnownTokens(std::string_view field, std::span<const int32_t> ids,
                              int64_t vocabulary, const Tokenizer& tokenizer) {
  const auto unknown = std::ranges::find_if(ids, [&](int32_t id) { return id >= vocabulary; });
  if (unknown == ids.end()) return absl::OkStatus();
  const std::string bytes = tokenizer.TokenBytes(*unknown, /*skip_special=*/false);
  return InvalidField(field, absl::StrCat("the token ", Quoted(bytes), " with the id ", *unknown),
                      absl::StrCat("tokens of the model, whose ids are 0 to ", vocabulary - 1));
}

}  // namespace whipsnake::engine
