// A sequence as a value that can be kept between requests, forked and written to disk.
#ifndef WHIPSNAKE_ENGINE_GENERATE_SAVED_STATE_H_
#define WHIPSNAKE_ENGINE_GENERATE_SAVED_STATE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/models/model.h"

namespace whipsnake::engine {

// Immutable. The state has seen all tokens, or all but the last. In the second case the sequence
// can be continued without further input, as reading the last token gives the logits of the next
// one.
struct SavedState {
  std::vector<int32_t> tokens;
  std::shared_ptr<const State> state;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_SAVED_STATE_H_
