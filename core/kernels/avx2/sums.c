/* Sums over a vector in 16 lanes and their tree, and the norm built on them. */
#include "kernels/avx2/wide.h"
/* The walk is written in the words of the set. */
#include "kernels/wide/sums.h"
