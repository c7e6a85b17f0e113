/* A thread that is to step back before whoever computes. */
#ifndef ES_BASE_BACKGROUND_H
#define ES_BASE_BACKGROUND_H

/* From now on the calling thread gets processor and disk after others. A system that refuses leaves it as it
 * is. */
void es_background(void);

#endif
