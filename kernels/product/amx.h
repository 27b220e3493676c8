// Products of bf16 strips with AMX, the matrix instructions of x86.
#ifndef WHIPSNAKE_KERNELS_PRODUCT_AMX_H_
#define WHIPSNAKE_KERNELS_PRODUCT_AMX_H_

#include "kernels/product/strip_product.h"

namespace whipsnake::kernels::amx {

// Returns null if this process may not use the instructions.
const StripProduct* PairProduct();

}  // namespace whipsnake::kernels::amx

#endif  // WHIPSNAKE_KERNELS_PRODUCT_AMX_H_
