/* A grammar and a vocabulary as a constraint (essaim/constraint.h is what the engine sees of it). */
#ifndef ES_CONSTRAIN_CONSTRAINT_H
#define ES_CONSTRAIN_CONSTRAINT_H

#include "constrain/grammar.h"
#include "constrain/token_trie.h"
#include "essaim/constraint.h"

enum { ES_CONSTRAINT_MASKS_BYTES = 8 * 1024 * 1024 }; /* kept for one plan */

/* Takes the grammar (finished), whatever the outcome; borrows the trie for the plan's life. Held once. */
es_status es_constraint_plan_create(const es_token_trie *trie, es_grammar **grammar,
                                    es_constraint_plan **ret_plan, es_err *err);

#endif
