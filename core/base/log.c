/* One event, one line, on stderr. */
#include "base/log.h"

#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What becomes of a line's bytes: the head and the names of fields take the rest. */
enum {
    MESSAGE_BYTES = 1024,
    MESSAGE_MAX = 1900,
    VALUE_BYTES = 1024,
    VALUE_MAX = 128,
    NAME_MAX_BYTES = 20,
    HEAD_MAX = 200
};
static const char CUT[] = "…";
_Static_assert(HEAD_MAX + MESSAGE_MAX + (int)ES_LOG_FIELDS_MAX * (VALUE_MAX + NAME_MAX_BYTES + 6) + 8 <=
                   (int)ES_LOG_LINE_MAX,
               "an event's line has room for all of it");

static const char *const FORMAT_NAMES[] = {"text", "json", NULL};
static const char *const LEVEL_NAMES[] = {"error", "warning", "info", "debug", NULL};

const es_option ES_LOG_OPTIONS[ES_LOG_OPTION_COUNT] = {
    {.name = "--log",
     .kind = ES_OPTION_CHOICE,
     .choices = FORMAT_NAMES,
     .at = offsetof(es_log_options, format),
     .initial = "text",
     .help = "how events are written to stderr, one a line: as text, or as JSON"},
    {.name = "--log-level",
     .kind = ES_OPTION_CHOICE,
     .choices = LEVEL_NAMES,
     .at = offsetof(es_log_options, level),
     .given_at = offsetof(es_log_options, level_given),
     .initial = "info",
     .help = "the least important events that are written"},
};

static struct {
    const char *program;
    es_log_format format;
    es_log_level level;
} config = {"essaim", ES_LOG_PLAIN, ES_LOG_WARN};

void es_log_configure(const char *program, es_log_level level)
{
    config.program = program;
    config.format = ES_LOG_PLAIN;
    config.level = level;
}

void es_log_serve(const char *program, const es_log_options *options)
{
    config.program = program;
    config.format = options->format;
    config.level = options->level;
}

es_log_format es_log_get_format(void)
{
    return config.format;
}

bool es_log_wants(es_log_level level)
{
    return level <= config.level;
}

typedef struct line {
    char bytes[ES_LOG_LINE_MAX];
    size_t count;
} line;

static void put(line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int more = vsnprintf(l->bytes + l->count, sizeof l->bytes - l->count, format, args);
    va_end(args);
    if (more > 0) l->count += (size_t)more;
    if (l->count > sizeof l->bytes - 1) l->count = sizeof l->bytes - 1;
}

/* Moves the cursor, ends a line, turns text round, or shows nothing at all. */
static bool hides(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

/* Adds text [bytes] within most bytes, so that it cannot leave its place: as a string's inside where quoted
 * (JSON's escapes), else with backslashes and what hides escaped alike. */
static void put_text(line *l, const char *text, size_t bytes, size_t most, bool quoted)
{
    size_t end = l->count + most - (sizeof CUT - 1);
    while (bytes > 0) {
        es_utf8_step step = es_utf8_read(text, bytes);
        char piece[16];
        size_t length = step.bytes;
        if (step.kind != ES_UTF8_CHARACTER)
            length = (size_t)snprintf(piece, sizeof piece, "%s", ES_UTF8_REPLACEMENT);
        else if (hides(step.codepoint))
            length = (size_t)snprintf(piece, sizeof piece, "\\u%04x", step.codepoint);
        else if (step.codepoint == '\\' || (quoted && step.codepoint == '"'))
            length = (size_t)snprintf(piece, sizeof piece, "\\%c", (char)step.codepoint);
        else
            memcpy(piece, text, length);
        if (l->count + length > end) {
            memcpy(l->bytes + l->count, CUT, sizeof CUT - 1);
            l->count += sizeof CUT - 1;
            return;
        }
        memcpy(l->bytes + l->count, piece, length);
        l->count += length;
        text += step.bytes;
        bytes -= step.bytes;
    }
}

/* RFC 3339, UTC, to the millisecond. The date is counted from a 1 March, where years of 365.2425 days begin.
 */
static void put_time(line *l)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seconds = (uint64_t)now.tv_sec, days = seconds / 86400 + 719468, era = days / 146097;
    uint64_t day = days % 146097, year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    uint64_t month = (5 * day + 2) / 153;
    unsigned m = (unsigned)(month < 10 ? month + 3 : month - 9);
    put(l, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)(year + era * 400 + (m <= 2)), m,
        (unsigned)(day - (153 * month + 2) / 5 + 1), (unsigned)(seconds / 3600 % 24),
        (unsigned)(seconds / 60 % 60), (unsigned)(seconds % 60), (unsigned)(now.tv_nsec / 1000000));
}

static void put_head(line *l, es_log_level level, const char *room)
{
    const char *program = config.program;
    if (config.format == ES_LOG_PLAIN) {
        put(l, "%.60s: %s: ", program, LEVEL_NAMES[level]);
        return;
    }
    if (config.format == ES_LOG_JSON) put(l, "{\"time\":\"");
    put_time(l);
    if (config.format == ES_LOG_JSON)
        put(l, "\",\"level\":\"%s\",\"program\":\"%.60s\",\"room\":\"%.20s\",\"message\":\"",
            LEVEL_NAMES[level], program, room);
    else
        put(l, " %.60s/%.20s: %s: ", program, room, LEVEL_NAMES[level]);
}

/* Whether a value reads as one word. */
static bool is_word(const char *text)
{
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/,+@-")] ==
           '\0';
}

static void put_field(line *l, const es_log_field *f)
{
    bool json = config.format == ES_LOG_JSON;
    bool is_text = f->kind == ES_LOG_VALUE_TEXT;
    if (is_text && (f->text == NULL || f->text[0] == '\0')) return;
    put(l, json ? ",\"%.*s\":" : " %.*s=", (int)NAME_MAX_BYTES, f->name);
    bool quoted = is_text && (json || !is_word(f->text));
    if (quoted) put(l, "\"");
    if (is_text) put_text(l, f->text, strnlen(f->text, VALUE_BYTES), VALUE_MAX, true);
    if (quoted) put(l, "\"");
    if (f->kind == ES_LOG_VALUE_COUNT) put(l, "%llu", (unsigned long long)f->count);
    if (f->kind == ES_LOG_VALUE_REAL)
        put(l, "%.3f", isfinite(f->real) && fabs(f->real) < 1e15 ? f->real : 0.0);
}

void es_log_event(es_log_level level, const char *room, const es_log_field *fields, size_t count,
                  const char *format, ...)
{
    if (level > config.level) return;
    ES_ASSERT(count <= ES_LOG_FIELDS_MAX);
    line l;
    char message[MESSAGE_BYTES];
    l.count = 0;
    va_list args;
    va_start(args, format);
    int more = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (more < 0) return;
    put_head(&l, level, room);
    put_text(&l, message, strlen(message), MESSAGE_MAX, config.format == ES_LOG_JSON);
    if ((size_t)more >= sizeof message) put(&l, "%s", CUT);
    if (config.format == ES_LOG_JSON) put(&l, "\"");
    for (size_t i = 0; i < count && config.format != ES_LOG_PLAIN; i++) put_field(&l, &fields[i]);
    put(&l, config.format == ES_LOG_JSON ? "}\n" : "\n");
    ssize_t written = write(STDERR_FILENO, l.bytes, l.count);
    (void)written; /* a log that cannot be written has nowhere to complain */
}

bool es_log_limit_take(es_log_limit *limit, uint64_t now_ns, unsigned a_second, uint64_t *ret_left_out)
{
    uint64_t second = now_ns / 1000000000u;
    if (second != limit->second) {
        limit->second = second;
        limit->written = 0;
    }
    if (limit->written >= a_second) {
        limit->left_out++;
        return false;
    }
    limit->written++;
    *ret_left_out = limit->left_out;
    limit->left_out = 0;
    return true;
}
