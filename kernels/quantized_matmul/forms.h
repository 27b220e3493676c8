// The forms of QuantizedMatmul() (see quantized_matmul.h). All give the same bits; they differ in
// what they cost for how many rows, and in the machines they run on. M >= 1, N >= 1.
#ifndef WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_FORMS_H_
#define WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_FORMS_H_

#include <cstdint>

#include "kernels/matrix.h"
#include "kernels/quantized_matmul/epilogue.h"

namespace whipsnake::kernels {

// Dot products, by VNNI where the machine has it: each row of the weight is fetched from memory
// once, in order, for every few rows of x. Any machine.
void StreamingQuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const Epilogue& epilogue);

// Register tiles over panels of the weight that are repacked on the way. Needs
// ActiveIsa() >= Isa::kVnni.
void PackedQuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const Epilogue& epilogue);

// oneDNN's product, which knows AMX; where it fails, StreamingQuantizedMatmul. Needs ActiveIsa() >=
// Isa::kVnni: below, oneDNN's sums saturate.
void OneDnnQuantizedMatmul(MatrixView<const int8_t> x, WeightView w, const Epilogue& epilogue);

}  // namespace whipsnake::kernels

#endif  // WHIPSNAKE_KERNELS_QUANTIZED_MATMUL_FORMS_H_
