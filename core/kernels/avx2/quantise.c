/* Activations to q8 rows: blocks of 32 that share one d. */
#include "kernels/avx2/wide.h"
/* The walk is written in the words of the set. */
#include "kernels/wide/quantise.h"
