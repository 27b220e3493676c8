// The element types that files of tensors can have, of which the engine computes with a few.
#ifndef WHIPSNAKE_ENGINE_CHECKPOINT_ELEMENT_TYPE_H_
#define WHIPSNAKE_ENGINE_CHECKPOINT_ELEMENT_TYPE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/dtype.h"

namespace whipsnake::engine {

struct ElementType {
  std::string_view name;  // in safetensors: "F32", "I64"
  int bits = 0;           // of an element; some types pack several into a byte
  bool is_float = false;
  std::optional<kernels::DType> dtype;  // set if the engine computes with it
};

// The types with a DType, for messages.
inline constexpr std::string_view kComputedTypes = "F32, F16, BF16 or I8";

// Returns the type of this name, which lives forever, or null if the format has none.
const ElementType* FindElementType(std::string_view name);
const ElementType& ElementTypeOf(kernels::DType dtype);

// Returns the size of a tensor in bytes; nullopt if a dimension is negative, the elements do not
// fill whole bytes, or the size does not fit in 63 bits.
std::optional<int64_t> TensorBytes(const ElementType& type, std::span<const int64_t> shape);
std::optional<int64_t> TensorBytes(kernels::DType dtype, std::span<const int64_t> shape);

}  // namespace whipsnake::engine

#endif  // WHIPSNAKE_ENGINE_CHECKPOINT_ELEMENT_TYPE_H_
