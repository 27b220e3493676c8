// Token ids in the JSON files of a model directory.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_TOKEN_IDS_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_TOKEN_IDS_H_

#include <cstdint>
#include <vector>

#include "engine/base/json_reader.h"

namespace whipsnake::engine {

// Returns the token ids under `key`, which are one id or a list of them, or `otherwise` if the key
// is absent or null. -1 stands for no token, as some conversions write it. Records a fault in
// `reader` if the value is neither.
std::vector<int32_t> ReadTokenIds(JsonObjectReader& reader, const char* key,
                                  std::vector<int32_t> otherwise);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_TOKEN_IDS_H_
