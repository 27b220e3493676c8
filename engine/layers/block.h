// A block of a model: a norm and a layer on the residual stream, or several of them.
//
// Letters: T tokens of all runs, d model width.
#ifndef WHIPSNAKE_ENGINE_LAYERS_BLOCK_H_
#define WHIPSNAKE_ENGINE_LAYERS_BLOCK_H_

#include <cstdint>
#include <span>

#include "engine/base/arena.h"
#include "engine/layers/parameter.h"
#include "engine/layers/state.h"
#include "kernels/context.h"
#include "kernels/matrix.h"

namespace whipsnake::engine {

// The rows [begin, begin + length) of a batch. They continue the sequence of `state`, which has
// room for them.
struct BlockRun {
  int64_t begin = 0;
  int64_t length = 0;
  State* state = nullptr;
};

// The residual stream between blocks. Its value is `sum`, plus `addend` if that is pending: a block
// whose norm comes first leaves its output to be added by the next norm, which is fused with the
// addition. Blocks may swap the two matrices.
struct ResidualStream {
  kernels::MatrixView<float> sum;     // [T,d]
  kernels::MatrixView<float> addend;  // [T,d]; scratch unless it is pending
  bool pending = false;

  // The addend if it is pending, otherwise an empty matrix.
  kernels::MatrixView<const float> Pending() const {
    return pending ? kernels::MatrixView<const float>(addend) : kernels::MatrixView<const float>();
  }
};

// Immutable. Called on the executor.
class Block {
 public:
  virtual ~Block() = default;

  // Adds the block's layers to the stream and writes the runs' states, without advancing their
  // positions. `scratch` must have ScratchBytes(T) bytes; its contents need not be kept between
  // calls.
  virtual void Forward(const kernels::Context& context, std::span<const BlockRun> runs,
                       ResidualStream& stream, Arena scratch) const = 0;
  virtual int64_t ScratchBytes(int64_t rows) const = 0;

  // Visits every parameter of the block.
  virtual void VisitParameters(ParameterVisitor visit) const = 0;
};

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_LAYERS_BLOCK_H_
