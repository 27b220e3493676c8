// A sequence as a value of its own: kept between requests, forked, written to disk.
#ifndef WHIPSNAKE_ENGINE_GENERATE_SAVED_STATE_H_
#define WHIPSNAKE_ENGINE_GENERATE_SAVED_STATE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/models/model.h"

namespace whipsnake::engine {

// Immutable. The state has seen all tokens, or all but the last: then the sequence can be continued
// with nothing more, as reading that one gives the logits of the next.
struct SavedState {
  std::vector<int32_t> tokens;
  std::shared_ptr<const State> state;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_GENERATE_SAVED_STATE_H_
