#include "engine/layers/parameter.h"

#include <utility>

namespace whipsnake::engine {

int64_t ElementCount(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

void VisitBuffer(ParameterVisitor visit, std::string name, std::vector<int64_t> shape,
                 ParameterRole role, const Buffer& buffer) {
  if (buffer.size() == 0) return;
  visit({std::move(name), std::move(shape), role, kernels::DType::kF32, buffer.bytes()});
}

}  // namespace whipsnake::engine
