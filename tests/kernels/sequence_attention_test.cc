#include "kernels/sequence_attention/sequence_attention.h"
