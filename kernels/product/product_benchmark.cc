#include "kernels/product/product.h"
