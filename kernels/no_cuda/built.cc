#include "kernels/cuda/built.h"

namespace whipsnake::kernels::cuda {

bool Built() { return false; }

}  // namespace whipsnake::kernels::cuda
