// The forms of QuantizedMatmul() (see quantized_matmul.h). All give the same bits; they differ in
// cost for a given number of rows and in the machines they support. They require M >= 1 and N >= 1.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_FORMS_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_FORMS_H_

#include <cstdint>

#include "kernels/context.h"
#include "kernels/matrix.h"
#include "kernels/quantized_matmul/epilogue.h"

namespace whipsnake::kernels {

// Dot products, with VNNI if the machine has it. Each row of the weight is read from memory once,
// in order, for every 32 rows of x. Runs on any machine.
void StreamingQuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                              const Epilogue& epilogue);

// Register tiles over panels of the weight, which are repacked on the fly. Needs ActiveIsa() >=
// Isa::kVnni.
void PackedQuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                           const Epilogue& epilogue);

// oneDNN's product, which can use AMX. Falls back to StreamingQuantizedMatmul() if oneDNN fails.
// Needs ActiveIsa() >= Isa::kVnni: on lower levels oneDNN's sums saturate.
void OneDnnQuantizedMatmul(const Context& context, MatrixView<const int8_t> x, WeightView w,
                           const Epilogue& epilogue);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_FORMS_H_
