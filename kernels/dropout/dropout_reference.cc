#include "kernels/dropout/dropout.h"
