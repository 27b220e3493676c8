#include "kernels/cuda/built.h"

namespace whipsnake::kernels::cuda {

bool Built() { return true; }

}  // namespace whipsnake::kernels::cuda
