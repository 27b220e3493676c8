#include "kernels/cross_entropy/cross_entropy.h"
