/* What the next token may be: the contract between constrained decoding and the engine. */
#ifndef ESSAIM_CONSTRAINT_H
#define ESSAIM_CONSTRAINT_H

#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What answers are held to, compiled. Any thread may hold it and let go; the constraints opened from it
 * belong to one thread at a time, all of them. It keeps what they learn, so that the next one need not. */
typedef struct es_constraint_plan es_constraint_plan;

/* Once more held by whoever calls; returns plan. */
es_constraint_plan *es_constraint_plan_hold(es_constraint_plan *plan);
void es_constraint_plan_release(es_constraint_plan **plan);

/* Words of a mask of its constraints. */
size_t es_constraint_plan_mask_words(const es_constraint_plan *plan);

/* One sequence's place in what it may write. A constraint and its clones share what they learn about their
 * grammar: all of them belong to one thread at a time. Destroyed in any order. */
typedef struct es_constraint es_constraint;

/* A sequence at the beginning. ES_UNSUPPORTED when what it is held to turns out to be too ambiguous,
 * ES_NO_MEMORY. */
es_status es_constraint_open(es_constraint_plan *plan, es_constraint **ret_constraint, es_err *err);

/* Words of a mask: one bit for each id of the model's vocabulary, id i being bit i % 64 of word i / 64. */
size_t es_constraint_mask_words(const es_constraint *constraint);

/* Writes which tokens may come next into ret_mask [mask_words]; at least one may until an end token was
 * accepted, none afterwards. End tokens are allowed when what was written is complete. ES_UNSUPPORTED when
 * the schema turns out to be too ambiguous, ES_NO_MEMORY. */
es_status es_constraint_fill_mask(es_constraint *constraint, uint64_t *ret_mask, es_err *err);

/* Goes on by one token. ES_INVALID, and nothing has changed, when it may not come next. */
es_status es_constraint_accept(es_constraint *constraint, uint32_t token, es_err *err);

/* Whether the sequence could end here: an end token is allowed or was accepted. */
bool es_constraint_is_complete(const es_constraint *constraint);

/* A second sequence at the same place. */
es_status es_constraint_clone(const es_constraint *constraint, es_constraint **ret_constraint, es_err *err);

void es_constraint_destroy(es_constraint **constraint);

#endif
