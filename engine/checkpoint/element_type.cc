#include "engine/checkpoint/element_type.h"

#include <algorithm>
#include <iterator>

namespace whipsnake::engine {
namespace {

using kernels::DType;

// All types of the safetensors format.
constexpr ElementType kTypes[] = {{"F32", 32, true, DType::kF32},
                                  {"F16", 16, true, DType::kF16},
                                  {"BF16", 16, true, DType::kBF16},
                                  {"I8", 8, false, DType::kI8},
                                  {"BOOL", 8, false, {}},
                                  {"U8", 8, false, {}},
                                  {"I16", 16, false, {}},
                                  {"U16", 16, false, {}},
                                  {"I32", 32, false, {}},
                                  {"U32", 32, false, {}},
                                  {"I64", 64, false, {}},
                                  {"U64", 64, false, {}},
                                  {"F64", 64, true, {}},
                                  {"C64", 64, true, {}},
                                  {"F8_E4M3", 8, true, {}},
                                  {"F8_E5M2", 8, true, {}},
                                  {"F8_E8M0", 8, true, {}},
                                  {"F8_E4M3FNUZ", 8, true, {}},
                                  {"F8_E5M2FNUZ", 8, true, {}},
                                  {"F6_E2M3", 6, true, {}},
                                  {"F6_E3M2", 6, true, {}},
                                  {"F4", 4, true, {}}};

}  // namespace

const ElementType* FindElementType(std::string_view name) {
  const auto* const found = std::ranges::find(kTypes, name, &ElementType::name);
  return found == std::end(kTypes) ? nullptr : found;
}

const ElementType& ElementTypeOf(DType dtype) {
  return *std::ranges::find(kTypes, dtype, &ElementType::dtype);
}

std::optional<int64_t> TensorBytes(const ElementType& type, std::span<const int64_t> shape) {
  // A type of fewer bits than a byte counts in bits, so its largest tensors are an eighth as long.
  const bool whole = type.bits % 8 == 0;
  int64_t size = whole ? type.bits / 8 : type.bits;
  for (const int64_t dimension : shape) {
    if (dimension < 0 || __builtin_mul_overflow(size, dimension, &size)) return std::nullopt;
  }
  if (whole) return size;
  if (size % 8 != 0) return std::nullopt;
  return size / 8;
}

std::optional<int64_t> TensorBytes(DType dtype, std::span<const int64_t> shape) {
  return TensorBytes(ElementTypeOf(dtype), shape);
}

}  // namespace whipsnake::engine
