/* A constraint made at once from what a request asks for. */
#ifndef CONSTRAIN_CONSTRAINT_OF_H
#define CONSTRAIN_CONSTRAINT_OF_H

#include "constrain/constrain.h"

static inline es_status constraint_of(const es_token_trie *trie, const es_constrain_request *request,
                                      uint32_t begin_after, es_constraint **ret_constraint, es_err *err)
{
    es_constraint_plan *plan;
    *ret_constraint = NULL;
    es_status status = es_constrain_compile(trie, request, begin_after, &plan, err);
    if (status == ES_OK) status = es_constraint_open(plan, ret_constraint, err);
    es_constraint_plan_release(&plan);
    return status;
}

#endif
