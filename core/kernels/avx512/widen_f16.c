/* f16 codes to binary32. */
#include "kernels/avx512/wide.h"
/* The walk is written in the words of the set. */
#include "kernels/wide/widen_f16.h"
