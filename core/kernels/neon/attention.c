/* Several heads of one row over one tile of cached entries, with softmax's running maximum and sum. */
#include "kernels/neon/wide.h"
/* The walk is written in the words of the set. */
#include "kernels/wide/attention.h"
