/* How the engine serves: nobody stalls, nobody starves, limits are told, ends are clean. */
#include "base/clock.h"
#include "engine_fixture.h"
#include "with_cmocka.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { WAIT_MS = 240000 };

static void expect_text(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) fail_msg("\"%s\" is not in \"%s\"", part, text);
}

static void a_long_prompt_stalls_a_running_answer_by_no_step(void **state)
{
    (void)state;
    enum { CHUNK = 16, LONG = 160 };
    static ask stream, prompt;
    es_engine *engine = fixture_engine((engine_size){.chunk = CHUNK});
    ask_make(&stream, 1, 10, 14);
    ask_make(&prompt, 2, LONG, 2);
    fixture_hold();
    ask_submit(&stream, engine);
    ask_submit(&prompt, engine);
    fixture_release();
    ask_finish(&stream);
    ask_finish(&prompt);
    for (size_t i = 1; i < stream.count; i++) assert_int_equal(stream.step[i], stream.step[i - 1] + 1);
    /* At most one whole step before there was anything to stall, and then chunks. */
    assert_true(prompt.step[0] - stream.step[0] >= (LONG - FIXTURE_STEP) / CHUNK);
    assert_true(prompt.step[0] - stream.step[0] <= LONG / CHUNK + 2);
    es_engine_destroy(&engine);
}

static void a_key_with_many_requests_does_not_starve_another(void **state)
{
    (void)state;
    enum { MANY = 8, FEW = 2 };
    static ask many[MANY], few[FEW];
    es_engine *engine = fixture_engine((engine_size){.answers = 2});
    fixture_hold();
    for (uint32_t i = 0; i < MANY; i++) {
        ask_make(&many[i], 10 + i, 30, 4);
        many[i].options.key = 1;
        ask_submit(&many[i], engine);
    }
    for (uint32_t i = 0; i < FEW; i++) {
        ask_make(&few[i], 30 + i, 30, 4);
        few[i].options.key = 2;
        ask_submit(&few[i], engine);
    }
    fixture_release();
    for (size_t i = 0; i < FEW; i++) ask_finish(&few[i]);
    size_t before = 0;
    for (size_t i = 0; i < MANY; i++) {
        ask_finish(&many[i]);
        before += many[i].end_step < few[FEW - 1].end_step;
    }
    assert_in_range(before, 1, 5);
    es_engine_destroy(&engine);
}

static void prompts_of_two_keys_take_turns(void **state)
{
    (void)state;
    static ask first[2], second;
    es_engine *engine = fixture_engine((engine_size){.chunk = 32});
    fixture_hold();
    for (uint32_t i = 0; i < 2; i++) {
        ask_make(&first[i], 40 + i, 150, 1);
        first[i].options.key = 1;
        ask_submit(&first[i], engine);
    }
    ask_make(&second, 44, 100, 1);
    second.options.key = 2;
    ask_submit(&second, engine);
    fixture_release();
    ask_finish(&first[0]);
    ask_finish(&first[1]);
    ask_finish(&second);
    assert_true(second.step[0] < first[1].step[0]);
    es_engine_destroy(&engine);
}

static void wait_until_queued(es_engine *engine, size_t queued)
{
    uint64_t deadline_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (fixture_stats(engine).queued != queued) {
        assert_true(es_clock_now_ns() < deadline_ns);
        sched_yield();
    }
}

static void a_full_queue_refuses_and_recovers(void **state)
{
    (void)state;
    static ask asks[4];
    es_err err;
    es_engine *engine = fixture_engine((engine_size){.answers = 1, .queue = 2});
    for (uint32_t i = 0; i < 4; i++) ask_make(&asks[i], 50 + i, 12, 2);
    fixture_hold();
    ask_submit(&asks[0], engine);
    wait_until_queued(engine, 0);
    ask_submit(&asks[1], engine);
    ask_submit(&asks[2], engine);
    assert_int_equal(es_engine_submit(engine, &asks[3].options, &asks[3].request, &err), ES_BUSY);
    expect_text(err.text, "queue is full");
    assert_null(asks[3].request);
    assert_in_range(es_engine_retry_after_s(engine), 1, 60);
    fixture_release();
    for (size_t i = 0; i < 3; i++) ask_finish(&asks[i]);
    ask_submit(&asks[3], engine);
    ask_finish(&asks[3]);
    assert_int_equal(asks[3].count, 2);
    assert_int_equal(fixture_stats(engine).refused, 1);
    es_engine_destroy(&engine);
}

static void one_key_cannot_take_all_places(void **state)
{
    (void)state;
    static ask asks[5];
    es_err err;
    es_engine *engine = fixture_engine((engine_size){.answers = 1, .queue = 3, .queue_key = 2});
    for (uint32_t i = 0; i < 5; i++) {
        ask_make(&asks[i], 60 + i, 12, 2);
        asks[i].options.key = i < 4 ? 1 : 2;
    }
    fixture_hold();
    ask_submit(&asks[0], engine);
    wait_until_queued(engine, 0);
    ask_submit(&asks[1], engine);
    ask_submit(&asks[2], engine);
    assert_int_equal(es_engine_submit(engine, &asks[3].options, &asks[3].request, &err), ES_BUSY);
    expect_text(err.text, "full for this key: 2 of its requests wait");
    ask_submit(&asks[4], engine);
    assert_int_equal(es_engine_submit(engine, &asks[4].options, &asks[3].request, &err), ES_BUSY);
    expect_text(err.text, "the queue is full: 3 requests wait");
    fixture_release();
    for (size_t i = 0; i < 3; i++) ask_finish(&asks[i]);
    ask_finish(&asks[4]);
    ask_submit(&asks[3], engine);
    ask_finish(&asks[3]);
    assert_int_equal(fixture_stats(engine).queued, 0);
    es_engine_destroy(&engine);
}

static void requests_without_sense_are_named(void **state)
{
    (void)state;
    static ask a;
    es_err err;
    es_request *request;
    es_engine *engine = fixture_engine((engine_size){.pages = 5});
    assert_int_equal(es_engine_context(engine), 4 * ES_KV_TILE);
    ask_make(&a, 1, 256, 1);
    assert_int_equal(es_engine_submit(engine, &a.options, &request, &err), ES_INVALID);
    expect_text(err.text, "prompt of 256 tokens");
    expect_text(err.text, "context of 256");
    ask_make(&a, 1, 20, 1);
    a.prompt[7] = (uint32_t)fixture_vocab();
    assert_int_equal(es_engine_submit(engine, &a.options, &request, &err), ES_INVALID);
    expect_text(err.text, "token 512");
    ask_make(&a, 1, 20, 1);
    a.options.sampling.top_p = 1.5f;
    assert_int_equal(es_engine_submit(engine, &a.options, &request, &err), ES_INVALID);
    expect_text(err.text, "top_p");
    a.options.prompt_count = 0;
    assert_int_equal(es_engine_submit(engine, &a.options, &request, &err), ES_INVALID);
    expect_text(err.text, "no tokens");
    es_engine_destroy(&engine);
}

static void the_context_ends_an_answer(void **state)
{
    (void)state;
    static ask a;
    es_engine *engine = fixture_engine((engine_size){.pages = 3});
    ask_make(&a, 3, 110, 0);
    ask_submit(&a, engine);
    ask_finish(&a);
    assert_int_equal(a.count, 2 * ES_KV_TILE - 110);
    assert_int_equal(a.outcome.finish, ES_FINISH_LENGTH);
    es_engine_destroy(&engine);
}

static void a_stop_token_ends_an_answer_and_is_no_part_of_it(void **state)
{
    (void)state;
    static ask a, b;
    es_engine *engine = fixture_engine((engine_size){0});
    ask_make(&a, 4, 20, 8);
    ask_submit(&a, engine);
    ask_finish(&a);
    size_t at = 0;
    while (a.token[at] != a.token[5]) at++;
    ask_make(&b, 4, 20, 8);
    b.options.stop = &a.token[5];
    b.options.stop_count = 1;
    ask_submit(&b, engine);
    ask_finish(&b);
    assert_int_equal(b.outcome.finish, ES_FINISH_STOP);
    assert_int_equal(b.count, at);
    es_engine_destroy(&engine);
}

static void one_answer_of_several_is_stopped_by_who_asked(void **state)
{
    (void)state;
    enum { MOST = 160 }; /* of two answers: more than the events that are kept */
    static ask a;
    es_engine *engine = fixture_engine((engine_size){0});
    ask_make(&a, 4, 20, MOST);
    a.options.choices = 2;
    ask_submit(&a, engine);
    size_t count[2] = {0};
    es_outcome outcome[2];
    for (int done = 0; done < 2;) {
        es_event event;
        assert_true(es_request_wait(a.request, WAIT_MS, &event));
        if (event.kind == ES_EVENT_TOKEN && ++count[event.choice] == 3 && event.choice == 1)
            es_request_stop(a.request, 1);
        if (event.kind != ES_EVENT_TOKEN) outcome[event.choice] = event.outcome;
        done += event.kind != ES_EVENT_TOKEN;
    }
    es_request_close(&a.request);
    assert_int_equal(outcome[0].finish, ES_FINISH_LENGTH);
    assert_int_equal(outcome[1].finish, ES_FINISH_STOP);
    assert_int_equal(count[0], MOST);
    assert_in_range(count[1], 3, MOST - 1);
    assert_int_equal(outcome[1].new_tokens, count[1]);
    es_engine_destroy(&engine);
}

/* A constraint in the place of the real ones: allows multiples of three, four times, then the end; or nothing
 * at all. */
struct es_constraint {
    size_t accepted;
    bool nothing;
};

enum { END = 1, THIRDS = 4 };
static atomic_int destroyed;

struct es_constraint_plan {
    es_constraint *only;
    atomic_int holders;
};

es_constraint_plan *es_constraint_plan_hold(es_constraint_plan *plan)
{
    atomic_fetch_add(&plan->holders, 1);
    return plan;
}

void es_constraint_plan_release(es_constraint_plan **plan)
{
    if (*plan != NULL) atomic_fetch_sub(&(*plan)->holders, 1);
    *plan = NULL;
}

size_t es_constraint_plan_mask_words(const es_constraint_plan *plan)
{
    (void)plan;
    return (fixture_vocab() + 63) / 64;
}

es_status es_constraint_open(es_constraint_plan *plan, es_constraint **ret_constraint, es_err *err)
{
    (void)err;
    *ret_constraint = plan->only;
    return ES_OK;
}

size_t es_constraint_mask_words(const es_constraint *constraint)
{
    (void)constraint;
    return (fixture_vocab() + 63) / 64;
}

es_status es_constraint_fill_mask(es_constraint *c, uint64_t *ret_mask, es_err *err)
{
    (void)err;
    memset(ret_mask, 0, es_constraint_mask_words(c) * sizeof *ret_mask);
    if (c->nothing) return ES_OK;
    if (c->accepted == THIRDS) ret_mask[0] = (uint64_t)1 << END;
    for (size_t i = 0; i < fixture_vocab() && c->accepted < THIRDS; i += 3)
        ret_mask[i / 64] |= (uint64_t)1 << i % 64;
    return ES_OK;
}

es_status es_constraint_accept(es_constraint *c, uint32_t token, es_err *err)
{
    c->accepted++;
    return token % 3 == 0 ? ES_OK : es_err_set(err, ES_INVALID, "token %u", (unsigned)token);
}

void es_constraint_destroy(es_constraint **constraint)
{
    if (*constraint != NULL) atomic_fetch_add(&destroyed, 1);
    *constraint = NULL;
}

static void a_constraint_chooses_what_may_come(void **state)
{
    (void)state;
    static ask a;
    const uint32_t end = END;
    es_engine *engine = fixture_engine((engine_size){0});
    for (int nothing = 0; nothing < 2; nothing++) {
        es_constraint thirds = {.nothing = nothing};
        es_constraint_plan plan = {&thirds, 1};
        ask_make(&a, 5, 20, 8);
        a.options.plan = &plan;
        a.options.stop = &end;
        a.options.stop_count = 1;
        ask_submit(&a, engine);
        ask_finish(&a);
        fixture_expect_no_pages(engine);
        while (atomic_load(&plan.holders) > 1) sched_yield();
        assert_int_equal(atomic_load(&destroyed), nothing + 1);
        assert_int_equal(a.failed, nothing);
        assert_int_equal(a.count, nothing ? 0 : THIRDS);
        for (size_t i = 0; i < a.count; i++) assert_int_equal(a.token[i] % 3, 0);
    }
    expect_text(a.err.text, "no token");
    es_engine_destroy(&engine);
}

static void one_who_takes_no_events_waits_and_loses_none(void **state)
{
    (void)state;
    static ask slow, quick;
    enum { MOST = 300 };
    es_engine *engine = fixture_engine((engine_size){0});
    ask_make(&slow, 6, 10, MOST);
    slow.options.wants_logprobs = false;
    ask_submit(&slow, engine);
    uint64_t deadline_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (fixture_stats(engine).decode_tokens < 255) {
        assert_true(es_clock_now_ns() < deadline_ns);
        sched_yield();
    }
    ask_make(&quick, 7, 10, 5);
    ask_submit(&quick, engine);
    ask_finish(&quick);
    assert_true(fixture_stats(engine).decode_tokens < MOST);
    ask_finish(&slow);
    assert_int_equal(slow.count, MOST);
    size_t gaps = 0;
    for (size_t i = 1; i < MOST; i++) gaps += slow.step[i] != slow.step[i - 1] + 1;
    assert_int_equal(gaps, 1);
    es_engine_destroy(&engine);
}

/* Two requests under way, whose step then fails this often; returns how many of them fail. */
static size_t requests_failed(es_engine *engine, int times)
{
    static ask asks[2];
    fixture_hold();
    for (uint32_t i = 0; i < 2; i++) {
        ask_make(&asks[i], 60 + i, 20, 400); /* more than the events that are kept */
        ask_submit(&asks[i], engine);
    }
    fixture_release();
    es_event event;
    for (size_t i = 0; i < 2; i++) assert_true(es_request_wait(asks[i].request, WAIT_MS, &event));
    fixture_fail_steps(times);
    size_t failed = 0;
    for (size_t i = 0; i < 2; i++) {
        ask_finish(&asks[i]);
        failed += asks[i].failed;
        if (!asks[i].failed) continue;
        assert_int_equal(asks[i].err.status, ES_UNAVAILABLE);
        expect_text(asks[i].err.text, ": node n3: connection lost");
    }
    return failed;
}

static void a_failed_step_is_tried_again_and_then_each_of_its_requests(void **state)
{
    (void)state;
    static ask alone, after;
    es_engine *engine = fixture_engine((engine_size){0});
    ask_make(&alone, 8, 70, 4);
    ask_alone(&alone, engine);
    assert_int_equal(requests_failed(engine, 1), 0);
    assert_int_equal(requests_failed(engine, 3), 1);
    assert_int_equal(requests_failed(engine, 4), 2);
    ask_make(&after, 8, 70, 4);
    ask_submit(&after, engine);
    ask_finish(&after);
    ask_compare(&after, &alone, false);
    fixture_expect_no_pages(engine);
    es_engine_destroy(&engine);
}

static void count_wake(void *context)
{
    atomic_fetch_add((atomic_int *)context, 1);
}

static void one_who_leaves_is_forgotten_and_not_woken(void **state)
{
    (void)state;
    static ask a[6];
    atomic_int wakes = 0;
    es_engine *engine = fixture_engine((engine_size){.answers = 2});
    fixture_hold();
    for (uint32_t i = 0; i < 6; i++) {
        ask_make(&a[i], 70 + i, 20, 100);
        a[i].options.wake = count_wake;
        a[i].options.context = &wakes;
        a[i].options.choices = 1 + i % 2;
        ask_submit(&a[i], engine);
    }
    for (size_t i = 0; i < 6; i++) es_request_close(&a[i].request);
    fixture_release();
    fixture_expect_no_pages(engine);
    assert_int_equal(atomic_load(&wakes), 0);
    assert_int_equal(fixture_stats(engine).cancelled, 9);
    assert_true(fixture_stats(engine).steps <= 1);
    ask_make(&a[0], 70, 20, 2);
    a[0].options.wake = count_wake;
    a[0].options.context = &wakes;
    ask_submit(&a[0], engine);
    ask_finish(&a[0]);
    assert_in_range(atomic_load(&wakes), 1, 3);
    es_engine_destroy(&engine);
}

static void deadlines_drain_and_stop_end_requests_clearly(void **state)
{
    (void)state;
    static ask late, last, refused, stopped;
    es_err err;
    es_engine *engine = fixture_engine((engine_size){0});
    ask_make(&late, 80, 20, 100);
    late.options.deadline_ns = es_clock_now_ns();
    ask_submit(&late, engine);
    ask_finish(&late);
    assert_true(late.failed && late.err.status == ES_TIMEOUT);
    ask_make(&last, 81, 20, 5);
    ask_make(&stopped, 82, 20, 440);
    ask_make(&refused, 83, 20, 5);
    ask_submit(&last, engine);
    ask_submit(&stopped, engine);
    es_engine_drain(engine);
    assert_int_equal(es_engine_submit(engine, &refused.options, &refused.request, &err), ES_UNAVAILABLE);
    ask_finish(&last);
    assert_int_equal(last.count, 5);
    assert_in_range(es_engine_open_requests(engine), 1, 2);
    es_engine_stop(engine);
    assert_int_equal(es_engine_open_requests(engine), 0);
    ask_finish(&stopped);
    assert_true(stopped.failed && stopped.err.status == ES_UNAVAILABLE);
    es_engine_destroy(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_prompt_stalls_a_running_answer_by_no_step),
        cmocka_unit_test(a_key_with_many_requests_does_not_starve_another),
        cmocka_unit_test(prompts_of_two_keys_take_turns),
        cmocka_unit_test(a_full_queue_refuses_and_recovers),
        cmocka_unit_test(one_key_cannot_take_all_places),
        cmocka_unit_test(requests_without_sense_are_named),
        cmocka_unit_test(the_context_ends_an_answer),
        cmocka_unit_test(a_stop_token_ends_an_answer_and_is_no_part_of_it),
        cmocka_unit_test(one_answer_of_several_is_stopped_by_who_asked),
        cmocka_unit_test(a_constraint_chooses_what_may_come),
        cmocka_unit_test(one_who_takes_no_events_waits_and_loses_none),
        cmocka_unit_test(a_failed_step_is_tried_again_and_then_each_of_its_requests),
        cmocka_unit_test(one_who_leaves_is_forgotten_and_not_woken),
        cmocka_unit_test(deadlines_drain_and_stop_end_requests_clearly),
    };
    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
