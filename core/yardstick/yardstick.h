/* What this machine can do at best: the yardsticks that kernels, plans and the doctor are held against. */
#ifndef ES_YARDSTICK_YARDSTICK_H
#define ES_YARDSTICK_YARDSTICK_H

#include "base/pool.h"
#include "essaim/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More memory than the caches hold, up to a gigabyte: who reads that finds nothing of before in them. */
size_t es_yardstick_bytes(void);

/* Bytes a second that all threads of pool together read from memory, in about a tenth of a second; 0 when
 * memory is short. */
uint64_t es_yardstick_read(const es_kernels *kernels, es_pool *pool);

/* The same [count] times over. False when memory is short. */
bool es_yardstick_read_often(const es_kernels *kernels, es_pool *pool, size_t count, double *ret_speeds);

/* Bytes of weights a second that all threads of pool together multiply with one row, in about a tenth of a
 * second for each of formats [count]: what the kernels reach of the above. False when memory is short. */
bool es_yardstick_products(const es_kernels *kernels, es_pool *pool, const es_format *formats, size_t count,
                           double *ret_speeds);

/* Seconds in which all threads of pool together read bytes at from (64-byte aligned), whole pages of 4096
 * of them. */
double es_yardstick_read_s(const es_kernels *kernels, es_pool *pool, const uint8_t *from, size_t bytes);

/* Multiplications and additions a second from registers, on all threads of pool, in a few milliseconds: of
 * int8, and of binary32. */
double es_yardstick_integer_ops(const es_kernels *kernels, es_pool *pool);
double es_yardstick_float_ops(const es_kernels *kernels, es_pool *pool);

/* The same of attention over a long cache in f16, for one row of a model with DeepSeek's heads, in a twentieth
 * of a second or one round if that is longer; 0 when memory is short. */
double es_yardstick_attend_ops(const es_kernels *kernels, es_pool *pool);

#endif
