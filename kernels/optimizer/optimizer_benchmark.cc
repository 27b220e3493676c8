#include "kernels/optimizer/optimizer.h"
