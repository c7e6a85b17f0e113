/* The progress line. */
#include "base/progress.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
static const uint64_t FIRST_NS = 500 * MS, REDRAW_NS = 100 * MS, LOG_NS = 10000 * MS, RATE_NS = 30000 * MS;

void es_progress_init(es_progress *progress, const char *what, const char *unit)
{
    *progress = (es_progress){.what = what,
                              .unit = unit,
                              .start_ns = es_clock_now_ns(),
                              .terminal = isatty(STDERR_FILENO) && es_log_get_format() != ES_LOG_JSON};
}

/* "34.1 GB" for bytes, "512 tokens" otherwise. */
static void format_amount(double amount, const char *unit, char out[32])
{
    static const char *const PREFIX[] = {"", "k", "M", "G", "T"};
    size_t step = 0;
    while (unit == NULL && amount >= 999.5 && step < 4) {
        amount /= 1000;
        step++;
    }
    bool decimal = amount < 9.95 && (step > 0 || unit != NULL) && amount != (double)(uint64_t)amount;
    snprintf(out, 32, decimal ? "%.1f %s%.20s" : "%.0f %s%.20s", amount, PREFIX[step],
             unit != NULL ? unit : "B");
}

/* "18 s", "4 min 10 s", "2 h 05 min". */
static void format_time(double seconds, char out[32])
{
    if (seconds > 359999) seconds = 359999;
    unsigned s = (unsigned)(seconds + 0.5);
    if (s < 60)
        snprintf(out, 32, "%u s", s);
    else if (s < 3600)
        snprintf(out, 32, "%u min %02u s", s / 60, s % 60);
    else
        snprintf(out, 32, "%u h %02u min", s / 3600, s / 60 % 60);
}

void es_progress_note(es_progress *progress, uint64_t done, uint64_t elapsed_ns)
{
    if (elapsed_ns - progress->next.elapsed_ns < RATE_NS) return;
    progress->from = progress->next;
    progress->next = (struct es_progress_mark){elapsed_ns, done};
}

/* A second; less than nothing was done where another total began. */
static double rate_of(const es_progress *progress, uint64_t done, uint64_t elapsed_ns)
{
    const struct es_progress_mark *from = &progress->from;
    if (elapsed_ns <= from->elapsed_ns || done < from->done) return 0;
    return (double)(done - from->done) / ((double)(elapsed_ns - from->elapsed_ns) * 1e-9);
}

void es_progress_format(const es_progress *progress, uint64_t done, uint64_t total, uint64_t elapsed_ns,
                        char *out, size_t out_bytes)
{
    double rate = rate_of(progress, done, elapsed_ns);
    char rate_text[32], amount[32], left[32];
    format_amount(rate, progress->unit, rate_text);
    if (total == 0) {
        format_amount((double)done, progress->unit, amount);
        snprintf(out, out_bytes, "%s: %s, %s/s", progress->what, amount, rate_text);
        return;
    }
    if (done > total) done = total;
    format_amount((double)total, progress->unit, amount);
    unsigned percent = (unsigned)((double)done / (double)total * 100);
    if (rate > 0) {
        format_time((double)(total - done) / rate, left);
        snprintf(out, out_bytes, "%s: %u %% of %s, %s/s, %s left", progress->what, percent, amount, rate_text,
                 left);
    } else {
        snprintf(out, out_bytes, "%s: %u %% of %s", progress->what, percent, amount);
    }
}

static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return 79;
    return size.ws_col - 1u;
}

static void draw(es_progress *progress, const char *text)
{
    char line[512];
    int length;
    if (!progress->terminal && es_log_get_format() != ES_LOG_PLAIN) {
        es_log(ES_LOG_INFO, "%s", text);
        return;
    }
    if (progress->terminal) {
        size_t columns = terminal_columns();
        length = snprintf(line, sizeof line, "\r%.*s\x1b[K", (int)(columns < 400 ? columns : 400), text);
    } else {
        length = snprintf(line, sizeof line, "%.400s\n", text);
    }
    ssize_t written = write(STDERR_FILENO, line, (size_t)length);
    (void)written; /* decoration: nobody is harmed by its absence */
    progress->drawn = true;
}

void es_progress_update(void *context, uint64_t done, uint64_t total)
{
    es_progress *progress = context;
    uint64_t now = es_clock_now_ns();
    uint64_t first = progress->terminal ? FIRST_NS : LOG_NS;
    uint64_t again = progress->terminal ? REDRAW_NS : LOG_NS;
    es_progress_note(progress, done, now - progress->start_ns);
    if (now - progress->start_ns < first || now - progress->drawn_ns < again) return;
    char text[400];
    es_progress_format(progress, done, total, now - progress->start_ns, text, sizeof text);
    draw(progress, text);
    progress->drawn_ns = now;
}

void es_progress_finish(es_progress *progress)
{
    if (progress->terminal && progress->drawn) {
        static const char ERASE[] = "\r\x1b[K";
        ssize_t written = write(STDERR_FILENO, ERASE, sizeof ERASE - 1);
        (void)written;
    }
    progress->drawn = false;
}
