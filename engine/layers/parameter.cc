#include "engine/layers/parameter.h"

#include <utility>

namespace whipsnake::engine {

void VisitBuffer(ParameterVisitor visit, std::string name, std::vector<int64_t> shape,
                 ParameterRole role, const Buffer& buffer) {
  if (buffer.size() == 0) return;
  visit({std::move(name), std::move(shape), role, kernels::DType::kF32, buffer.bytes()});
}

}  // namespace whipsnake::engine
