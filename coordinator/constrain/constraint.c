/* Constraints: a place in an automaton, and masks of the vocabulary remembered by state. */
#include "constrain/constraint.h"

#include "base/size.h"
#include "constrain/automaton.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MASKS_MIN = 8, MASKS_MAX = 1024, WORD_BITS = 64 };

/* A mask that was computed, of the states that es_automaton_near takes for one. */
typedef struct mask {
    es_state state; /* DEAD: none yet */
    uint64_t *words;
} mask;

/* What a constraint and its clones share. */
typedef struct shared {
    const es_token_trie *trie;
    es_automaton *automaton;
    mask *masks;
    size_t mask_count, next; /* next is overwritten next */
    size_t words;
    es_constraint *first; /* of all that live */
    es_state stack[ES_TOKEN_TRIE_BYTES_MAX + 1];
} shared;

struct es_constraint_plan {
    atomic_int holders;
    const es_token_trie *trie;
    es_grammar *grammar;  /* until the first constraint is opened */
    es_constraint *first; /* then: at the beginning, never moved; NULL when it could not be made */
    es_err failure;       /* why */
};

struct es_constraint {
    shared *shared;
    es_state state;
    bool ended;
    es_constraint *before, *after;
};

static void shared_destroy(shared *s)
{
    es_automaton_destroy(&s->automaton);
    for (size_t i = 0; s->masks != NULL && i < s->mask_count; i++) free(s->masks[i].words);
    free(s->masks);
    free(s);
}

static void link_in(es_constraint *c)
{
    c->before = NULL;
    c->after = c->shared->first;
    if (c->after != NULL) c->after->before = c;
    c->shared->first = c;
}

static size_t mask_words(const es_token_trie *trie)
{
    return es_size_ceil_div(trie->vocabulary, WORD_BITS);
}

/* Takes the grammar, whatever the outcome. */
static es_status create(const es_token_trie *trie, es_grammar **grammar, es_constraint **ret_constraint,
                        es_err *err)
{
    *ret_constraint = NULL;
    es_constraint *made = calloc(1, sizeof *made);
    shared *s = calloc(1, sizeof *s);
    es_status status = ES_OK;
    if (made == NULL || s == NULL) {
        es_grammar_destroy(grammar);
        free(made);
        free(s);
        return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    }
    s->trie = trie;
    s->words = mask_words(trie);
    size_t fitting = ES_CONSTRAINT_MASKS_BYTES / (es_size_max(s->words, 1) * sizeof(uint64_t));
    s->mask_count = es_size_min(es_size_max(fitting, MASKS_MIN), MASKS_MAX);
    s->masks = calloc(s->mask_count, sizeof *s->masks);
    status = es_automaton_create(grammar, &s->automaton, err);
    if (status == ES_OK && s->masks == NULL) status = es_err_set(err, ES_NO_MEMORY, "not enough memory");
    if (status == ES_OK) {
        es_automaton_begin(s->automaton);
        made->state = es_automaton_start(s->automaton);
        status = es_automaton_failed(s->automaton, err);
    }
    if (status != ES_OK) {
        shared_destroy(s);
        free(made);
        return status;
    }
    made->shared = s;
    link_in(made);
    *ret_constraint = made;
    return ES_OK;
}

es_status es_constraint_clone(const es_constraint *constraint, es_constraint **ret_constraint, es_err *err)
{
    *ret_constraint = malloc(sizeof **ret_constraint);
    if (*ret_constraint == NULL) return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    **ret_constraint = *constraint;
    link_in(*ret_constraint);
    return ES_OK;
}

void es_constraint_destroy(es_constraint **constraint)
{
    es_constraint *c = *constraint;
    if (c == NULL) return;
    if (c->after != NULL) c->after->before = c->before;
    if (c->before != NULL)
        c->before->after = c->after;
    else
        c->shared->first = c->after;
    if (c->shared->first == NULL) shared_destroy(c->shared);
    free(c);
    *constraint = NULL;
}

es_status es_constraint_plan_create(const es_token_trie *trie, es_grammar **grammar,
                                    es_constraint_plan **ret_plan, es_err *err)
{
    es_constraint_plan *plan = calloc(1, sizeof *plan);
    *ret_plan = plan;
    if (plan == NULL) {
        es_grammar_destroy(grammar);
        return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    }
    atomic_init(&plan->holders, 1);
    plan->trie = trie;
    plan->grammar = *grammar;
    *grammar = NULL;
    return ES_OK;
}

es_constraint_plan *es_constraint_plan_hold(es_constraint_plan *plan)
{
    atomic_fetch_add(&plan->holders, 1);
    return plan;
}

void es_constraint_plan_release(es_constraint_plan **plan_at)
{
    es_constraint_plan *plan = *plan_at;
    *plan_at = NULL;
    if (plan == NULL || atomic_fetch_sub(&plan->holders, 1) > 1) return;
    es_grammar_destroy(&plan->grammar);
    es_constraint_destroy(&plan->first);
    free(plan);
}

size_t es_constraint_plan_mask_words(const es_constraint_plan *plan)
{
    return mask_words(plan->trie);
}

es_status es_constraint_open(es_constraint_plan *plan, es_constraint **ret_constraint, es_err *err)
{
    *ret_constraint = NULL;
    if (plan->grammar != NULL) create(plan->trie, &plan->grammar, &plan->first, &plan->failure);
    if (plan->first != NULL) return es_constraint_clone(plan->first, ret_constraint, err);
    return es_err_set(err, plan->failure.status, "%s", plan->failure.text);
}

size_t es_constraint_mask_words(const es_constraint *constraint)
{
    return constraint->shared->words;
}

bool es_constraint_is_complete(const es_constraint *constraint)
{
    return constraint->ended || es_automaton_accepts(constraint->shared->automaton, constraint->state);
}

/* Starts a piece of work on the automaton; what it remembers is forgotten first when it is too much. */
static es_status begin(shared *s, es_err *err)
{
    es_automaton_begin(s->automaton);
    if (!es_automaton_is_full(s->automaton)) return ES_OK;
    size_t count = 0;
    for (es_constraint *c = s->first; c != NULL; c = c->after) count++;
    es_state **states = malloc(es_size_max(count, 1) * sizeof *states);
    if (states == NULL) return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    count = 0;
    for (es_constraint *c = s->first; c != NULL; c = c->after) states[count++] = &c->state;
    es_status status = es_automaton_forget(s->automaton, states, count, err);
    free(states);
    if (status == ES_OK)
        for (size_t i = 0; i < s->mask_count; i++) s->masks[i].state = ES_STATE_DEAD;
    return status;
}

static void allow(uint64_t *words, uint32_t id)
{
    words[id / WORD_BITS] |= (uint64_t)1 << id % WORD_BITS;
}

/* Allows every token whose bytes lead somewhere from state. */
static void walk(shared *s, es_state state, uint64_t *words)
{
    const es_trie_node *nodes = s->trie->nodes;
    s->stack[0] = state;
    for (size_t i = 1; i < s->trie->node_count;) {
        const es_trie_node *node = &nodes[i];
        es_state to = es_automaton_step(s->automaton, s->stack[node->depth - 1], node->byte);
        if (to == ES_STATE_DEAD) {
            i = node->behind;
            continue;
        }
        s->stack[node->depth] = to;
        for (uint32_t t = node->tokens; t < nodes[i + 1].tokens; t++) allow(words, s->trie->ids[t]);
        i++;
    }
}

static void compute(shared *s, es_state state, uint64_t *words)
{
    memset(words, 0, s->words * sizeof *words);
    walk(s, state, words);
    const es_grammar *g = es_automaton_grammar(s->automaton);
    for (unsigned mark = 0; mark < g->mark_count; mark++)
        if (es_automaton_step(s->automaton, state, ES_GRAMMAR_BYTE_VALUES + mark) != ES_STATE_DEAD)
            allow(words, g->marks[mark]);
    if (es_automaton_accepts(s->automaton, state))
        for (size_t i = 0; i < s->trie->end_count; i++) allow(words, s->trie->ends[i]);
}

es_status es_constraint_fill_mask(es_constraint *constraint, uint64_t *ret_mask, es_err *err)
{
    shared *s = constraint->shared;
    if (constraint->ended) {
        memset(ret_mask, 0, s->words * sizeof *ret_mask);
        return ES_OK;
    }
    es_status status = begin(s, err);
    if (status != ES_OK) return status;
    es_state near = es_automaton_near(s->automaton, constraint->state, (uint32_t)s->trie->longest);
    mask *m = NULL;
    ES_ASSERT(s->mask_count > 0);
    for (size_t i = 0; i < s->mask_count && m == NULL; i++)
        if (near != ES_STATE_DEAD && s->masks[i].state == near) m = &s->masks[i];
    if (m == NULL) {
        m = &s->masks[s->next];
        s->next = (s->next + 1) % s->mask_count;
        if (m->words == NULL) m->words = malloc(es_size_max(s->words, 1) * sizeof *m->words);
        if (m->words == NULL) return es_err_set(err, ES_NO_MEMORY, "not enough memory");
        m->state = ES_STATE_DEAD;
        compute(s, near, m->words);
        status = es_automaton_failed(s->automaton, err);
        if (status != ES_OK) return status;
        m->state = near;
    }
    memcpy(ret_mask, m->words, s->words * sizeof *ret_mask);
    return ES_OK;
}

/* The state after token's bytes or its mark; DEAD when it may not come. */
static es_state state_after(const es_constraint *c, uint32_t token)
{
    shared *s = c->shared;
    const es_grammar *g = es_automaton_grammar(s->automaton);
    for (unsigned mark = 0; mark < g->mark_count; mark++)
        if (g->marks[mark] == token)
            return es_automaton_step(s->automaton, c->state, ES_GRAMMAR_BYTE_VALUES + mark);
    size_t bytes;
    const char *text = es_token_trie_text(s->trie, token, &bytes);
    es_state state = bytes > 0 ? c->state : ES_STATE_DEAD;
    for (size_t i = 0; i < bytes && state != ES_STATE_DEAD; i++)
        state = es_automaton_step(s->automaton, state, (unsigned char)text[i]);
    return state;
}

es_status es_constraint_accept(es_constraint *constraint, uint32_t token, es_err *err)
{
    shared *s = constraint->shared;
    if (constraint->ended) return es_err_set(err, ES_INVALID, "token %u after the end", token);
    es_status status = begin(s, err);
    if (status != ES_OK) return status;
    bool complete = es_automaton_accepts(s->automaton, constraint->state);
    for (size_t i = 0; i < s->trie->end_count; i++)
        if (complete && s->trie->ends[i] == token) {
            constraint->ended = true;
            return ES_OK;
        }
    es_state state = state_after(constraint, token);
    status = es_automaton_failed(s->automaton, err);
    if (status != ES_OK) return status;
    if (state == ES_STATE_DEAD) return es_err_set(err, ES_INVALID, "token %u may not come here", token);
    constraint->state = state;
    return ES_OK;
}
