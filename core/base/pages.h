/* Big anonymous memory, on huge pages where the system has them: weights are streamed, and a page table walk
 * every 4 KB shows. */
#ifndef ES_BASE_PAGES_H
#define ES_BASE_PAGES_H

#include <stddef.h>
#include <stdint.h>

/* bytes of zeros at a page border, or NULL when memory is short. */
uint8_t *es_pages_take(size_t bytes);

/* Gives the memory back until it is touched again, when it is zeros. */
void es_pages_clear(uint8_t *pages, size_t bytes);
void es_pages_give(uint8_t *pages, size_t bytes);

/* Of the pages that bytes at an address lie on, how many are in memory, whoever had them read; 0 to 1. */
double es_pages_cached_share(const uint8_t *at, size_t bytes);

/* Of what the mapping that holds this address has in memory, how much is on huge pages; 0 to 1, and 0 where
 * the system does not say. */
double es_pages_huge_share(const uint8_t *at);

#endif
