/* f16 codes to binary32. */
#include "kernels/neon/wide.h"
/* The walk is written in the words of the set. */
#include "kernels/wide/widen_f16.h"
